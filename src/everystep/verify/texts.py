"""Comparing words: yes and no, and free text by normalised equality.

Free text that is not equal after normalising is not wrong but open: no part of an answer is ever counted.
"""

import re
import unicodedata
from collections.abc import Sequence

from everystep.verify.phrases import singular

_ARTICLE = re.compile(r"\b(?:the|an?)\b")
_NOT_WORD = re.compile(r"[^\w%°$€£+<>=/&#-]+|(?<!\w)[-]+(?!\w)|_")
LEAD = re.compile(
    r"^(?:(?:so|thus|therefore|hence|then)\b[,:]?\s*)?(?:(?:(?:the|my|our)\s+)?(?:final\s+|correct\s+|right\s+)?"
    r"(?:answer|result|conclusion|choice|option)\s*(?:is|was|:|=|would be)\s*:?\s*"
    r"|(?:it|this|that|they)(?:'s|\s+is|\s+was|\s+are)\s+(?:(?:called|named|known\s+as)\s+)?|answer\s*->\s*)(?!not\b|n't)",
    re.IGNORECASE,
)
_TAIL = re.compile(
    r"(?:\s+\([^()]*\)|[,;.]?\s+(?:because|since|as it|which|due to)\b.*)\s*[.!]*$", re.IGNORECASE | re.DOTALL
)
# British spellings with their American ones, where no rule covers them.
_SPELLING = {
    "mt": "mount",
    "grey": "gray", "metre": "meter", "litre": "liter", "centre": "center", "theatre": "theater",
    "fibre": "fiber", "aluminium": "aluminum", "sulphur": "sulfur", "sulphuric": "sulfuric",
    "haemoglobin": "hemoglobin", "oxygenised": "oxygenized", "oesophagus": "esophagus", "tyre": "tire",
    "plough": "plow", "defence": "defense", "jewellery": "jewelry", "programme": "program",
    "cheque": "check", "anaemia": "anemia", "foetus": "fetus", "travelled": "traveled",
    "traveller": "traveler", "travelling": "traveling", "mould": "mold", "catalogue": "catalog",
    "dialogue": "dialog", "analogue": "analog", "skilful": "skillful", "enrol": "enroll",
    "pyjamas": "pajamas", "leukaemia": "leukemia", "paediatric": "pediatric", "manoeuvre": "maneuver",
    "licence": "license", "whisky": "whiskey", "diarrhoea": "diarrhea", "caesium": "cesium",
    "kilometre": "kilometer", "centimetre": "centimeter", "millimetre": "millimeter",
    "millilitre": "milliliter", "offence": "offense", "storey": "story", "moustache": "mustache",
}  # fmt: skip
# Names that are used for one another everywhere; what a single data set uses belongs into its aliases.
_MONTHS = ("january", "february", "march", "april", "june", "july", "august", "october", "december")
_SAME_NAME = (
    "united states of america|united states|usa|us|u s|u s a|america",
    "united kingdom|uk|u k|great britain",
    "new york city|nyc",
    "united arab emirates|uae",
    "european union|eu",
    "united nations|un",
    "carbon dioxide|co2",
    "carbon monoxide|co",
    "water|h2o",
    "sodium chloride|nacl|table salt",
    "methane|ch4",
    "ammonia|nh3",
    "hydrochloric acid|hcl",
    "sulfuric acid|h2so4",
    "glucose|c6h12o6",
    "ozone|o3",
    "dna|deoxyribonucleic acid",
    "rna|ribonucleic acid",
    "northeast|ne",
    "northwest|nw",
    "southeast|se",
    "southwest|sw",
    *(f"{day}|{day[:3]}" for day in ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]),
    "tuesday|tues",
    "thursday|thurs",
    *(f"{m}|{m[:3]}" for m in _MONTHS),
    "september|sept|sep",
    "november|nov",
)
_NAMES = {name: group.split("|")[0] for group in _SAME_NAME for name in group.split("|")}
_OUR = re.compile(r"\b(\w{2,})our(s|ed|ing|ful|able|ite|less|hood)?\b")
_ISE = re.compile(r"\b(\w{3,})(is|ys)(e|es|ed|ing|ation|ations)\b")
_NOT_OUR = {
    "four", "hour", "tour", "pour", "your", "sour", "flour", "scour", "detour", "contour", "devour", "velour",
}  # fmt: skip
_COUNTRY_NAMES = """
afghanistan argentina australia austria bangladesh belgium brazil bulgaria cambodia canada chile china
colombia croatia cuba denmark egypt england ethiopia finland france germany ghana greece hungary iceland india
indonesia iran iraq ireland israel italy jamaica japan jordan kenya kuwait laos lebanon libya malaysia mali
malta mexico mongolia morocco mozambique myanmar nepal netherlands nigeria norway oman pakistan panama peru
philippines poland portugal qatar romania russia rwanda scotland senegal serbia singapore slovakia slovenia
somalia spain sudan sweden switzerland syria taiwan tanzania thailand tunisia turkey uganda uk ukraine uruguay
usa venezuela vietnam wales yemen zambia zimbabwe new-zealand south-korea north-korea south-africa
saudi-arabia united-states united-kingdom czech-republic costa-rica sri-lanka
"""
_COUNTRIES = frozenset(_COUNTRY_NAMES.split())
# People whose surname alone means them: a full name is accepted for the surname, and the reverse.
_FULL_NAMES = """
george washington, abraham lincoln, thomas jefferson, albert einstein, isaac newton, charles darwin, galileo
galilei, nikola tesla, thomas edison, william shakespeare, leonardo da vinci, christopher columbus, louis
pasteur, gregor mendel, johannes kepler, nicolaus copernicus, niels bohr, ernest rutherford, alexander
fleming, james watt, michael faraday, alessandro volta, dmitri mendeleev, blaise pascal, leonhard euler, rene
descartes, sigmund freud, karl marx, napoleon bonaparte, winston churchill, nelson mandela, mahatma gandhi,
neil armstrong, yuri gagarin, wolfgang mozart, ludwig van beethoven, vincent van gogh, pablo picasso, claude
monet, ferdinand magellan, antonie van leeuwenhoek, robert hooke, stephen hawking, alan turing, benjamin
franklin, rosalind franklin, barack obama, john adams, james madison, andrew jackson, alexander bell, johannes
gutenberg
"""
_PEOPLE = {name.rsplit(None, 1)[-1]: name for name in " ".join(_FULL_NAMES.split()).split(", ")}
del _PEOPLE["franklin"], _PEOPLE["adams"]  # more than one is meant by these


def normal(text: str) -> str:
    """Free text without case, articles, punctuation, accents and British spelling, its words one space apart.

    >>> normal(" The Colour, of  naïve “Photosynthesis”. ")
    'color of naive photosynthesis'
    """
    text = unicodedata.normalize("NFKD", text.replace("ß", "ss")).casefold()
    text = "".join(c for c in text if unicodedata.category(c) not in ("Mn", "Cf", "Cc") or c in "\n\t")
    text = text.replace("'s ", "s ").replace("'", "")
    words = _NOT_WORD.sub(" ", text).strip()
    words = _ARTICLE.sub(" ", words) or words
    words = _OUR.sub(lambda m: m.group() if m.group() in _NOT_OUR else f"{m.group(1)}or{m.group(2) or ''}", words)
    words = _ISE.sub(lambda m: f"{m.group(1)}{m.group(2).replace('s', 'z')}{m.group(3)}", words)
    return " ".join(_SPELLING.get(w, w) for w in words.replace("&", " and ").split())


def same_text(answer: str, gold: str, aliases: Sequence[str] = ()) -> str | None:
    """Why two texts say the same, or None where no rule can tell."""
    target = normal(gold)
    for i, candidate in enumerate((answer, core(answer))):
        said = normal(candidate)
        if said.startswith("-") != target.startswith("-"):
            continue  # `-even` is not `even`
        if said and said == target:
            return "equal" if i == 0 else "equal without the words around it"
        for alias in aliases:
            if said and said == normal(alias):
                return f"equal to the alias {alias!r}"
        if said and said.replace(" ", "").replace("-", "") == target.replace(" ", "").replace("-", ""):
            return "equal but for spaces and hyphens"
        if said in _NAMES and _NAMES[said] == _NAMES.get(target):
            return "another name for the same"
        if said and " ".join(_last_singular(said)) == " ".join(_last_singular(target)):
            return "equal but for singular and plural"
        if said in _PEOPLE.values() and _PEOPLE.get(target) == said:
            return "the person's full name"
        if target in _PEOPLE.values() and _PEOPLE.get(said) == target:
            return "the person's surname"
    place, _, country = core(answer).rpartition(",")
    if place and normal(country).replace(" ", "-") in _COUNTRIES and normal(place) == target:
        return "equal, with its country"
    return None


def _last_singular(text: str) -> list[str]:
    words = text.split()
    return [*words[:-1], singular(words[-1])] if words else []


def core(text: str) -> str:
    """An answer's text without the sentence around it ("The answer is Paris, because …")."""
    text = LEAD.sub("", text.strip(), count=1)
    shorter = _TAIL.sub("", text)
    return (shorter if shorter.strip(" .,") else text).strip()


_YES = {"yes", "true", "correct", "right", "valid", "y", "yeah", "yep", "affirmative", "t", "always true"}
_NO = {"no", "false", "incorrect", "wrong", "invalid", "untrue", "n", "nope", "f", "negative"}
_POLAR = re.compile(
    r"\b(?:((?:not|isn't|is\s+not|never|aren't|wasn't|doesn't|cannot\s+be)\s+(?:\w+\s+)?)?"
    r"(yes|true|correct|valid|yeah|yep|affirmative|no|false|incorrect|wrong|invalid|untrue|nope))\b",
    re.IGNORECASE,
)


# "It does", "They can't", "No, it is not" without its first word.
_SHORT = re.compile(
    r"(?:it|they|he|she|that|this|we|you|there|i|one)(?:'s|'re|\s+(?:is|are|does|do|did|can|could|will|would|has|have|was|were|should|must))"
    r"(\s*n?'t|\s+not)?(?:\s+(?:possible|so|the\s+case|feasible|allowed))?\s*[.!]*\s*$",
    re.IGNORECASE,
)


_SURE = re.compile(
    r"(?:(?:definitely|certainly|absolutely|of\s+course|surely)(\s+not)?|(never|not\s+(?:necessarily|really|at\s+all)))[.!]*$",
    re.IGNORECASE,
)


_NOT_POLAR = {"y", "n", "t", "f", "right", "negative", "affirmative", "wrong", "yeah", "nope"}


def is_polar(text: str) -> bool:
    """Whether a gold answer is a yes or a no."""
    return normal(text) in (_YES | _NO) - _NOT_POLAR


_TURN = re.compile(r"^(?:(?:but|and|or|actually|well|although|however|then|also|maybe|rather) )+")


def polarity(text: str) -> set[bool]:
    """What a text says for yes (True) or no (False): the readings of the first clause that has any."""
    words = normal(text)
    if words in _YES | _NO:
        return {words in _YES}
    text = LEAD.sub("", text.strip(), count=1)
    text = re.split(r"(?<=\w)[,;]?\s+(?:because|since)\b", text, maxsplit=1)[0]
    clauses = re.split(r"[,;.\n!]|\b(?:because|since|as)\b| - ", text)
    for i, clause in enumerate(clauses):
        found = {
            (m.group(2).lower() in _YES) is (m.group(1) is None)
            for m in _POLAR.finditer(clause)
            if not (
                m.group(2).lower() == "no"
                and re.match(r"\s+(?:\w+\s+)?(?:is|are|was|doubt|idea|way)\b", clause[m.end() :])
            )
        }
        if found:
            for later in clauses[i + 1 :]:  # "Yes, but no"
                if (word := _TURN.sub("", normal(later))) in _YES | _NO:
                    found.add(word in _YES)
            return found
    if sure := _SURE.match(text):
        return {sure.group(1) is None and sure.group(2) is None}
    short = _SHORT.match(text)
    return {short.group(1) is None} if short else set()


def unlabelled(option: str) -> str:
    """An option's text without its letter."""
    return re.sub(r"^\s*[\(\[]?[A-Ja-j][\)\].:]\s+", "", option).strip()
