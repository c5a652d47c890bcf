"""Sentences to speak: made from word lists and patterns of this file, so that no text needs a licence."""

from __future__ import annotations

import numpy as np

PEOPLE = (
    "the captain", "my grandmother", "a young violinist", "the baker", "our neighbour", "the old gardener",
    "a tired nurse", "the lighthouse keeper", "Julia", "Thomas", "every child in the village", "the choir",
    "a quiet stranger", "the pilot", "Marguerite", "the clockmaker", "nobody", "the whole orchestra",
    "an ambitious judge", "the youngest shepherd", "George", "the veterinarian", "a weary traveller",
    "the chess champion",
)  # fmt: skip
VERBS = (
    "carried", "painted", "measured", "forgot", "discovered", "borrowed", "whispered about", "polished", "followed",
    "remembered", "threw away", "listened to", "shouted at", "sketched", "repaired", "avoided", "weighed",
    "juggled with", "sang about", "waited for", "laughed at", "wrapped", "photographed", "questioned", "unfolded",
    "chased",
)  # fmt: skip
ADJECTIVES = (
    "purple", "enormous", "fragile", "silver", "noisy", "ancient", "wooden", "yellow", "frozen", "velvet",
    "crooked", "gentle", "mysterious", "hollow", "joyful", "rusty", "thirsty", "unusual", "bright", "shallow",
    "zigzag", "thick",
)  # fmt: skip
THINGS = (
    "lantern", "umbrella", "telescope", "bicycle", "suitcase", "harbour wall", "piano", "oyster shell", "feather",
    "thunderstorm", "jar of honey", "chimney", "letter", "garden gate", "violin", "pair of shoes", "river boat",
    "zebra", "wheel", "mirror", "fishing net", "birthday cake", "treasure map", "hedgehog", "engine", "kite",
    "vinyl record",
)  # fmt: skip
PLACES = (
    "under the bridge", "behind the theatre", "near the frozen lake", "on the fourth floor",
    "at the edge of the woods", "beside the railway", "in a cathedral", "along the beach", "above the clouds",
    "between two mountains", "outside the museum", "across the valley", "in the kitchen", "by the northern shore",
    "on the roof",
)  # fmt: skip
TIMES = (
    "last Thursday", "before sunrise", "in the middle of July", "every evening", "a few years ago",
    "at half past nine", "during the long winter", "tomorrow, perhaps", "long ago", "just after the concert",
    "once in a while",
)  # fmt: skip
CLAUSES = (
    "and the wind was getting stronger", "although it had rained for hours",
    "because the choir was already singing", "while thirty pigeons watched", "so we opened every window",
    "but the judge would not agree", "until the music faded", "which surprised us all",
    "as if it were the easiest thing in the world", "though few of us noticed", "where the path becomes narrow",
    "and then we all went home", "for no good reason",
)  # fmt: skip
PATTERNS = (
    "{person} {verb} the {adjective} {thing} {place}.",
    "{time}, {person} {verb} {article} {thing}, {clause}.",
    "Did {person} really say that the {thing} was {adjective}?",
    "{person} {verb} the {thing} {place}, {clause}.",
    "Look at the {adjective} {thing} {place}!",
    "There were {number} of them {place}, each as {adjective} as {article} {thing}.",
    "Who {verb} the {thing} {time}?",
    "Oh, how {adjective}! {person} {verb} it {time}.",
    "Neither the {thing} nor the {adjective} {thing2} belonged to {person}.",
    "If the {thing} is {adjective}, meet me {place} {time}.",
)
NUMBERS = ("two", "seven", "thirteen", "forty-five", "sixty", "eighty-one", "a hundred", "nine thousand")


def make_sentences(count: int, seed: int = 0) -> list[str]:
    """Make different sentences.

    Args:
        count: how many.
        seed: the same seed gives the same sentences, and a longer list begins with the shorter one.

    Returns:
        `count` sentences, no two alike.

    """
    random = np.random.default_rng(seed)
    sentences: dict[str, None] = {}  # keeps the order
    while len(sentences) < count:
        sentences[_sentence(random)] = None
    return list(sentences)


def _sentence(random: np.random.Generator) -> str:
    """Fill one pattern."""

    def pick(words: tuple[str, ...]) -> str:
        return words[int(random.integers(len(words)))]

    thing = pick(THINGS)
    text = pick(PATTERNS).format(
        person=pick(PEOPLE),
        verb=pick(VERBS),
        adjective=pick(ADJECTIVES),
        thing=thing,
        article="an" if thing[0] in "aeiou" else "a",
        thing2=pick(THINGS),
        place=pick(PLACES),
        time=pick(TIMES),
        clause=pick(CLAUSES),
        number=pick(NUMBERS),
    )
    return text[0].upper() + text[1:]
