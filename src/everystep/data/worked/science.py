"""Quantities with units: motion, mass, electricity, work, energy, temperature and conversions."""

import random

from everystep.core.types import Kind
from everystep.data.worked.problem import Problem, factors, part, people, product, term


def speed(rng: random.Random, level: int) -> Problem:
    """Distance over time, the time in two parts' distance."""
    v, hours = factors(rng, level)
    mover = rng.choice(("train", "car", "bus", "boat"))
    whole = v * hours
    first = part(rng, level, whole)
    second = whole - first
    question = rng.choice(
        (
            f"A {mover} goes {first} km and then {second} km in {hours} hours in all. What is its average speed?",
            f"In {hours} hours a {mover} goes {first} km before a stop and {second} km after it. "
            f"What is its average speed?",
            f"A {mover} needs {hours} hours for {first} km and {second} km together. "
            "What is its average speed in km/h?",
        )
    )
    steps = (
        f"Distance: {first} + {second} = {whole} km.",
        f"Speed: {whole} / {hours} = {v} km/h.",
        f"Therefore, the speed is {v} km/h.",
    )
    return Problem(question, steps, f"{v} km/h", Kind.QUANTITY, "km/h")


def distance(rng: random.Random, level: int) -> Problem:
    """Speed times time, after a first piece of the way."""
    v, hours = factors(rng, level)
    mover = rng.choice(("train", "car", "bus", "boat"))
    before = term(rng, level)
    question = rng.choice(
        (
            f"A {mover} has gone {before} km. It goes on for {hours} hours at {v} km/h. How far does it go in all?",
            f"A {mover} goes at {v} km/h for {hours} hours, and {before} km more. How far does it go in all?",
            f"How far does a {mover} go in {hours} hours at {v} km/h if it starts {before} km from home?",
        )
    )
    total = v * hours + before
    steps = (
        f"Way: {product(v, hours)} km.",
        f"Total: {v * hours} + {before} = {total} km.",
        f"Therefore, the distance is {total} km.",
    )
    return Problem(question, steps, f"{total} km", Kind.QUANTITY, "km")


def density(rng: random.Random, level: int) -> Problem:
    """Mass over volume, the mass from two weighings."""
    volume, dense = factors(rng, level)
    mass = volume * dense
    jar = term(rng, level)
    place = rng.choice(("jar", "cup", "glass"))
    question = rng.choice(
        (
            f"A {place} weighs {jar} g empty and {jar + mass} g with {volume} ml of a liquid. "
            f"What is the density of the liquid?",
            f"{volume} ml of a liquid and its {place} weigh {jar + mass} g. The empty {place} "
            f"weighs {jar} g. "
            f"Find the density in g/ml.",
            f"An empty {place} has a mass of {jar} g. With {volume} ml of oil it has {jar + mass} g. "
            f"What is the density of the oil?",
        )
    )
    steps = (
        f"Mass: {jar + mass} - {jar} = {mass} g.",
        f"Density: {mass} / {volume} = {dense} g/ml.",
        f"Therefore, the density is {dense} g/ml.",
    )
    return Problem(question, steps, f"{dense} g/ml", Kind.QUANTITY, "g/ml")


def ohm(rng: random.Random, level: int) -> Problem:
    """Voltage over two resistors in a row: V = I * R."""
    whole, current = factors(rng, level)
    whole = max(whole, 4)
    r1 = rng.randint(2, whole - 2)
    r2 = whole - r1
    question = rng.choice(
        (
            f"A current of {current} A flows through {r1} ohms and {r2} ohms in a row. What is the voltage?",
            f"Two lamps in a row have {r1} ohms and {r2} ohms. The current is {current} A. Find the voltage.",
            f"What voltage drives {current} A through {r1} ohms and {r2} ohms in a row?",
        )
    )
    volts = whole * current
    steps = (
        f"Resistance: {r1} + {r2} = {whole} ohms.",
        f"Voltage: {product(whole, current)} V.",
        f"Therefore, the voltage is {volts} V.",
    )
    return Problem(question, steps, f"{volts} V", Kind.QUANTITY, "V")


_CONVERSIONS = (
    ("minutes", "seconds", 60),
    ("hours", "minutes", 60),
    ("days", "hours", 24),
    ("weeks", "days", 7),
    ("m", "cm", 100),
    ("km", "m", 1000),
    ("kg", "g", 1000),
)


def convert(rng: random.Random, level: int) -> Problem:
    """A quantity in two units, in the smaller one."""
    coarse, fine, rate = rng.choice(_CONVERSIONS)
    n, m = rng.randint(2 + (level > 2) * 8, (9, 15, 30, 60, 99)[level - 1]), term(rng, level)
    question = rng.choice(
        (
            f"How many {fine} are {n} {coarse} and {m} {fine}?",
            f"Write {n} {coarse} and {m} {fine} in {fine}.",
            f"Change {n} {coarse} and {m} {fine} to {fine}.",
        )
    )
    total = n * rate + m
    steps = (
        f"From {coarse}: {product(n, rate)} {fine}.",
        f"Total: {n * rate} + {m} = {total} {fine}.",
        f"Therefore, it is {total} {fine}.",
    )
    return Problem(question, steps, f"{total} {fine}", Kind.QUANTITY, fine, key=(rate, n, m))


def work(rng: random.Random, level: int) -> Problem:
    """Net force times distance."""
    (name,) = people(rng, 1)
    force, way = factors(rng, level)
    drag = term(rng, level)
    push = force + drag
    load = rng.choice(("box", "chair", "table", "car"))
    question = rng.choice(
        (
            f"{name} pushes a {load} with {push} N for {way} m against a friction of {drag} N. "
            f"How much work does the net force do?",
            f"A {load} is pulled {way} m with {push} N. Friction is {drag} N. What is the work of the net force?",
            f"Find the net work when {push} N pull a {load} for {way} m against {drag} N.",
        )
    )
    joules = force * way
    steps = (
        f"Force: {push} - {drag} = {force} N.",
        f"Work: {product(force, way)} J.",
        f"Therefore, the work is {joules} J.",
    )
    return Problem(question, steps, f"{joules} J", Kind.QUANTITY, "J")


def temperature(rng: random.Random, level: int) -> Problem:
    """A rise and a fall, perhaps below zero."""
    a, up, down = term(rng, level), term(rng, level), term(rng, level)
    what = rng.choice(("oven", "engine", "star", "machine"))
    question = rng.choice(
        (
            f"The {what} is at {a} degrees. It warms by {up} degrees and then cools by {down} degrees. "
            f"What is the temperature?",
            f"The temperature of the {what} is {a} degrees, rises by {up} degrees and falls "
            f"by {down} degrees. "
            f"What is it now?",
            f"From {a} degrees the {what} gets {up} degrees warmer, then {down} degrees colder. "
            f"What is the temperature now?",
        )
    )
    end = a + up - down
    steps = (
        f"Warm: {a} + {up} = {a + up} degrees.",
        f"Cool: {a + up} - {down} = {end} degrees.",
        f"Therefore, it is {end} degrees.",
    )
    return Problem(question, steps, f"{end} degrees", Kind.QUANTITY, "degrees")


def energy(rng: random.Random, level: int) -> Problem:
    """Power of two devices times the time."""
    whole, seconds = factors(rng, level)
    whole = max(whole, 4)
    p1 = rng.randint(2, whole - 2)
    p2 = whole - p1
    a, b = rng.sample(("lamp", "fan", "pump", "radio", "heater"), 2)
    question = rng.choice(
        (
            f"A {a} of {p1} W and a {b} of {p2} W run for {seconds} seconds. How much energy do they use?",
            f"How much energy do a {a} with {p1} W and a {b} with {p2} W use in {seconds} seconds?",
            f"For {seconds} seconds a {a} uses {p1} W and a {b} uses {p2} W. Find the energy in J.",
        )
    )
    joules = whole * seconds
    steps = (
        f"Power: {p1} + {p2} = {whole} W.",
        f"Energy: {product(whole, seconds)} J.",
        f"Therefore, the energy is {joules} J.",
    )
    return Problem(question, steps, f"{joules} J", Kind.QUANTITY, "J")
