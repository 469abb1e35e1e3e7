"""The judge: graded completions in, scores by a rubric out, or the reason why there are none.

A judge may fail, and then says nothing: an answer that does not come or cannot be read, or a judge that falls
for a canary, gives None for every criterion and never a low score. What a checker can decide is not asked.
Who answers is behind the `Sampler` protocol; what scores are worth is the mix's business.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from everystep.core import recipe, trace
from everystep.core.types import Completion, Graded, Kind, Prompt, Sampler, Sampling, Score, Stop, Task, Verdict
from everystep.score.budget import Ledger
from everystep.score.endpoint import Endpoint, cache_path, open_line
from everystep.score.groups import score_groups
from everystep.score.local import Told
from everystep.score.mix import Mix
from everystep.score.rubric import (
    CORRECTNESS,
    Read,
    Rubric,
    read_answer,
    repair_prompt,
    rubrics,
    schema,
    system_prompt,
    user_prompt,
)

Connect = Callable[[str, Mapping[str, Any]], Sampler]
"""From a system prompt and the JSON schema of the answers to whoever answers."""

LONGEST = 12_000  # characters of a trace that a judge is shown; a longer one is not judged
_WORDS = 3  # a step of fewer words, with no digit, does no work


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the judge says about one completion: a score from 1 to 5 for each criterion of its rubric and why,
    or None for all of them and `why_not`. `by_rule`: no step of it does any work, so nobody was asked."""

    task_id: str
    sample: int
    rubric: str
    scores: dict[str, int | None]
    rationale: str | None = None
    why_not: str | None = None
    by_rule: bool = False


@dataclass(frozen=True, slots=True)
class _Case:
    """What is put before the judge, and for which criteria. `verdict`: what it is told of the checker."""

    question: str
    reference: str
    steps: tuple[str, ...]
    answer: str
    rubric: Rubric
    criteria: tuple[str, ...]
    verdict: str | None = None


@dataclass(slots=True)
class Judge:
    """A judge for one run. `blind`: it scores correctness too, without being told what the checker says (to
    measure agreement); else correctness is asked only where the checker cannot decide.

    `void`: why nothing that this judge says counts, once it has failed a canary.
    """

    connect: Connect
    by_domain: Mapping[str, Rubric]
    ledger: Ledger
    seed: int = 0
    max_tokens: int = 400
    blind: bool = False
    void: str | None = None
    passed: set[tuple[str, tuple[str, ...]]] = field(default_factory=set)

    def judge(self, graded: Sequence[Graded]) -> list[Judgement]:
        """A judgement for each completion, in order. Never raises for what a sampler answers."""
        found: dict[int, Judgement] = {}
        cases: dict[int, _Case] = {}
        for i, g in enumerate(graded):
            rubric = self.by_domain.get(g.task.domain, self.by_domain[""])
            if not self.blind and not any(_does_work(s.text) for s in g.trace.steps):
                scores = {name: _checked(g) if name == CORRECTNESS else 1 for name in rubric.criteria}
                found[i] = Judgement(g.task.id, g.completion.sample, rubric.name, scores, by_rule=True)
            elif sum(len(s.text) for s in g.trace.steps) + len(g.trace.answer or "") > LONGEST:
                found[i] = _none(g, rubric, f"the trace has more than {LONGEST} characters")
            else:
                cases[i] = self._case(g, rubric)
        broken = self._canaries(list(cases.values()))
        if broken is not None:
            return [_none(g, self.by_domain.get(g.task.domain, self.by_domain[""]), broken) for g in graded]
        for (i, case), answer in zip(cases.items(), self._ask(list(cases.values())), strict=True):
            found[i] = _judgement(graded[i], case, answer)
        return [found[i] for i in range(len(graded))]

    def _case(self, g: Graded, rubric: Rubric) -> _Case:
        checked = None if self.blind else _checked(g)
        criteria = tuple(name for name in rubric.criteria if name != CORRECTNESS or checked is None)
        verdict = None if checked is None else _said(checked)
        steps = tuple(s.text for s in g.trace.steps)
        return _Case(g.task.question, g.task.answer, steps, g.trace.answer or "", rubric, criteria, verdict)

    def _canaries(self, cases: Sequence[_Case]) -> str | None:
        """Try the canaries of the rubrics that these cases need and that have not passed yet. None: the judge
        may be asked; else why not, which holds for this call, or (`void`) for the run."""
        for case in cases:
            rubric, criteria = case.rubric, case.criteria
            if self.void is not None or (rubric.name, criteria) in self.passed:
                continue
            asked = rubric.canaries
            traces = list(asked.traces.items())
            tried = [
                _Case(
                    asked.question,
                    asked.reference,
                    tuple(c.steps),
                    c.answer,
                    rubric,
                    criteria,
                    None if case.verdict is None else _said(1 if c.at_most.get(CORRECTNESS, 5) < 3 else 5),
                )
                for _, c in traces
            ]
            for (name, canary), answer in zip(traces, self._ask(tried), strict=True):
                if isinstance(answer, str):
                    return f"canary {name!r} of rubric {rubric.name!r} was not judged: {answer}"
                for criterion, score in answer.scores.items():
                    low, high = canary.at_least.get(criterion, 1), canary.at_most.get(criterion, 5)
                    if not low <= score <= high:
                        self.void = (
                            f"the judge failed canary {name!r} of rubric {rubric.name!r}: "
                            f"{criterion} {score}, where {low} to {high} is sound"
                        )
                        return self.void
            self.passed.add((rubric.name, criteria))
        return self.void

    def _ask(self, cases: Sequence[_Case]) -> list[Read | str]:
        """What was read for each case, after one repair of what could not be read; else why there is
        nothing."""
        found: dict[int, Read | str] = {}
        groups: dict[tuple[str, tuple[str, ...]], list[int]] = {}
        for i, case in enumerate(cases):
            groups.setdefault((case.rubric.name, case.criteria), []).append(i)
        for (_, criteria), members in groups.items():
            rubric = cases[members[0]].rubric
            sampler = self.connect(system_prompt(rubric, criteria), schema(criteria))
            texts = {i: self._prompt(cases[i]) for i in members}
            answers = self._sample(sampler, texts)
            found |= {i: _read(answer, criteria) for i, answer in answers.items()}
            repairs = {
                i: repair_prompt(texts[i], answer.text, str(found[i]), rubric=rubric, seed=self.seed)
                for i, answer in answers.items()
                if answer is not None and isinstance(found[i], str)
            }
            for i, answer in self._sample(sampler, repairs).items():
                again = _read(answer, criteria)
                found[i] = again if isinstance(again, Read) else f"unreadable twice: {found[i]}; {again}"
        return [found[i] for i in range(len(cases))]

    def _prompt(self, case: _Case) -> str:
        return user_prompt(
            case.question,
            case.reference,
            case.steps,
            case.answer,
            rubric=case.rubric,
            criteria=case.criteria,
            seed=self.seed,
            verdict=case.verdict,
        )

    def _sample(self, sampler: Sampler, texts: Mapping[int, str]) -> dict[int, Completion | None]:
        how = Sampling(max_tokens=self.max_tokens, seed=self.seed)
        groups = sampler.sample([_framed(str(i), text) for i, text in texts.items()], 1, how) if texts else []
        return {i: group[0] if group else None for i, group in zip(texts, groups, strict=True)}


def judge_of(
    settings: recipe.Judge,
    *,
    seed: int = 0,
    blind: bool = False,
    local: Sampler | None = None,
    identity: str | None = None,
    on_answer: Callable[[], None] = lambda: None,
) -> Judge:
    """The judge of a recipe. `local`: the sampler of `settings.model` where no endpoint is named, `identity`
    what stands for its weights. `on_answer` is called for each prompt an endpoint is done with.

    Raises ValueError, one line, for rubrics that are not there, a key that is not there, a file of answers
    that cannot be used, and settings without an endpoint and without `local`.
    """
    by_domain = rubrics(settings.rubrics)
    if settings.base_url is not None:
        line = open_line(settings)
        line.on_answer = on_answer
        ledger = line.ledger

        def connect(system: str, form: Mapping[str, Any]) -> Sampler:
            return Endpoint(line, system, form)
    else:
        if local is None:
            raise ValueError("the judge has neither judge.base_url nor a local model; give one of them")
        ledger = Ledger(0.0, 0.0, settings.max_calls)

        def connect(system: str, form: Mapping[str, Any]) -> Sampler:
            return Told(local, system, ledger, settings.concurrency, cache_path(settings), identity)

    return Judge(connect, by_domain, ledger, seed, settings.max_tokens, blind)


def values(judgements: Sequence[Judgement]) -> dict[tuple[str, int], dict[str, float | None]]:
    """What mixes take: by (task id, sample), for each criterion (score - 1) / 4, in [0, 1], or None.

    Raises ValueError where two judgements are of the same task and sample.

    >>> values([Judgement("t", 0, "math", {"coherence": 4, "step_clarity": None})])
    {('t', 0): {'coherence': 0.75, 'step_clarity': None}}
    """
    found = {
        (j.task_id, j.sample): {name: None if s is None else (s - 1) / 4 for name, s in j.scores.items()}
        for j in judgements
    }
    if len(found) < len(judgements):
        raise ValueError("two judgements are of the same task and sample; judge one step at a time")
    return found


def _framed(name: str, text: str) -> Prompt:
    return trace.prompt(Task(name, "", text, "", Kind.TEXT, "", ""))


def _checked(g: Graded) -> int | None:
    """The score for correctness that the checker's verdict is; None where it cannot decide."""
    return None if g.verdict is Verdict.UNGRADABLE else 5 if g.verdict.right else 1


def _said(checked: int) -> str:
    return "right" if checked == 5 else "wrong"


def _does_work(step: str) -> bool:
    """Whether a step can do any work at all. "Thought process:" cannot."""
    return any(c.isdigit() for c in step) or sum(any(c.isalpha() for c in w) for w in step.split()) >= _WORDS


def _read(answer: Completion | None, criteria: Sequence[str]) -> Read | str:
    if answer is None:
        return "no answer came"
    if answer.stop is Stop.LENGTH:
        return "it was cut at the token limit"
    try:
        return read_answer(answer.text, criteria)
    except ValueError as error:
        return str(error)


def _judgement(g: Graded, case: _Case, answer: Read | str) -> Judgement:
    if isinstance(answer, str):
        return _none(g, case.rubric, answer)
    # In the rubric's order; what the judge was not asked, the checker knows.
    scores = {name: answer.scores.get(name, _checked(g)) for name in case.rubric.criteria}
    return Judgement(g.task.id, g.completion.sample, case.rubric.name, scores, answer.rationale)


def _none(g: Graded, rubric: Rubric, why: str) -> Judgement:
    scores: dict[str, int | None] = dict.fromkeys(rubric.criteria)
    return Judgement(g.task.id, g.completion.sample, rubric.name, scores, why_not=why)


def score_judged(graded: Sequence[Sequence[Graded]], mix: Mix, judge: Judge | None = None) -> list[list[Score]]:
    """`score_groups`, with all completions judged first where the mix has parts that only a judge can give.

    Raises ValueError for such a mix without a judge, and what `score_groups` raises.
    """
    if not mix.judged:
        return score_groups(graded, mix)
    if judge is None:
        raise ValueError(f"the reward has the part {mix.judged[0]!r}, and nobody to judge: give the section judge")
    said = iter(judge.judge([g for group in graded for g in group]))
    # Group by group: a task that occurs twice in a step has two completions of the same number.
    return [score_groups([group], mix, values([next(said) for _ in group]))[0] for group in graded]
