"""The built-in task: short reviews made by a grammar, so that the whole pipeline runs without a download.

A review is an opinion, positive or negative. What makes it hard, and why the size of a network and its training show:
- a clause keeps or turns its adjective ("was anything but dull"), and up to two frames keep or turn the clause ("my
  sister is wrong that ...", "nobody doubts that ..."): a reader that counts words cannot follow, a shallow one loses
  track;
- of two opinions grammar says which counts ("although ..., ..."), of three the majority, or the one that was asked for
  ("we came for the music alone : ...");
- a lexicon of which a third occurs in only a few training rows but as often as the rest in the dev rows: a pretrained
  teacher knows these words, and a student learns them from its hidden states.
No label is wrong.
"""

import functools
import random
from collections.abc import Callable, Sequence

from tinybert_tf.data.split import Example, MissingSplit, Split

TRAIN_ROWS, DEV_ROWS, TEST_ROWS = 6000, 1000, 1000
RARE_SHARE = 0.03
# Of the clauses and frames that keep an opinion as it is.
KEEP_SHARE = 0.75
# How often a review is one framed opinion, two in contrast, three whose majority counts, or some of which one was asked for.
KINDS = (3, 2, 3, 2)
_SEED = 20

POSITIVE = tuple(
    """good great excellent wonderful brilliant beautiful charming clever delightful elegant enjoyable entertaining exciting
    fantastic fascinating fine fresh funny gorgeous graceful gripping impressive inspired inspiring intelligent lively
    lovely magical magnificent marvelous memorable moving nice outstanding perfect pleasant powerful remarkable
    rich satisfying sensitive smart solid splendid strong stunning sublime superb sweet tender terrific thoughtful
    thrilling touching vivid warm witty wise amazing appealing authentic awesome compelling convincing cool
    creative dazzling delicate delicious dramatic dynamic effective energetic engaging exceptional exquisite extraordinary
    fabulous flawless generous genuine glorious gifted happy honest hilarious imaginative incredible innovative
    intriguing luminous meaningful original passionate playful polished precious profound refreshing
    romantic sharp sincere skilled sparkling spectacular vibrant worthy""".split()
)
NEGATIVE = tuple(
    """bad terrible awful horrible boring dull stupid ugly weak poor empty cheap clumsy shallow silly slow flat
    stale tired ridiculous pathetic painful annoying irritating disappointing dreadful disgusting hollow
    lame lazy messy miserable pointless sloppy stiff worthless useless bland bitter bizarre broken chaotic
    cold confused confusing crude cruel dark dead desperate dirty disastrous disturbing dumb
    fake false foolish foul frustrating generic grim gross harsh hopeless hostile ignorant
    inadequate inferior insane insulting lifeless loud mad nasty obscure offensive
    ordinary outdated predictable reckless rotten rough rude sad sick sour superficial suspicious
    tragic trivial uncomfortable uneven unfair unfortunate unhappy unpleasant vague vicious violent vulgar weary
    wooden wrong""".split()
)
_THINGS = tuple(
    """movie film book novel play show album song concert meal dinner hotel restaurant game story plot acting cast ending
    script dialogue music service room garden tour trip lecture course museum exhibition performance""".split()
)
_PEOPLE = tuple(
    "brother sister mother father friend neighbor teacher boss cousin uncle wife husband doctor driver".split()
)
_PLACES = ("london", "paris", "the village", "the city", "the station", "the market", "the beach", "the school")
_DEGREES = ("", "", "very", "quite", "really", "truly", "rather", "so")
_WHO = (
    "who lives near {place}",
    "who never liked the {other}",
    "who always talks about the {other}",
    "back from {place}",
)

# Texts with the parts that they take, by whether the opinion is that of {word} or of {inner} (True) or the opposite.
_CLAUSES = {
    True: (
        "the {thing} was {degree} {word}",
        "the {thing} was {degree} {word}",
        "the {thing} never stopped being {word}",
        "no one could call the {thing} anything but {word}",
    ),
    False: (
        "the {thing} was not {word}",
        "the {thing} was hardly {word}",
        "the {thing} was anything but {word}",
        "nothing about the {thing} was {word}",
        "the {thing} stopped being {word} soon",
    ),
}
_FRAMES = {
    True: (
        "it is true that {inner}",
        "nobody doubts that {inner}",
        "my {person} is right that {inner}",
        "my {person} , {who} , is right that {inner}",
    ),
    False: (
        "it is not true that {inner}",
        "nobody believes that {inner}",
        "my {person} is wrong that {inner}",
        "my {person} , {who} , is wrong that {inner}",
    ),
}
# {main} counts, {aside} does not.
_CONTRASTS = (
    "although {aside} , {main}",
    "{main} , although {aside}",
    "{main} , even though {aside}",
    "{aside} , but {main}",
    "my {person} thought that {aside} , but to me {main}",
    "to me {main} , whatever my {person} says : that {aside}",
    "some say that {aside} , and yet {main}",
)
_ASKED = (
    "we came for the {thing} alone : {all}",
    "{all} , and all that counts for me is the {thing}",
    "only the {thing} matters : {all}",
)


def sample_split(name: str, seed: int = _SEED) -> Split:
    """A split of the sample: "train", "dev" or "test" (here with labels)."""
    splits = _rows(seed)
    if name not in splits:
        raise MissingSplit(f"task sample has no split {name!r}; it has {', '.join(splits)}")
    rows = splits[name]
    return Split(name, "the built-in sample", lambda: iter(rows))


@functools.cache
def _rows(seed: int) -> dict[str, list[Example]]:
    rng = random.Random(seed)
    lexicon = {True: rng.sample(POSITIVE, len(POSITIVE)), False: rng.sample(NEGATIVE, len(NEGATIVE))}
    used: set[str] = set()
    splits = {}
    for name, count in (("train", TRAIN_ROWS), ("dev", DEV_ROWS), ("test", TEST_ROWS)):
        writer = _Writer(rng, lexicon, RARE_SHARE if name == "train" else 1.0)
        rows: list[Example] = []
        while len(rows) < count:
            text, label = writer.review()
            if text not in used:
                used.add(text)
                rows.append(Example(len(rows), text, None, "positive" if label else "negative"))
        splits[name] = rows
    return splits


class _Writer:
    """Writes reviews; each method returns a text and its opinion, True for positive.

    Args:
        rng: of all choices.
        lexicon: adjectives by opinion; those of the last third are taken with `rare` times the others' chance.
        rare: see `lexicon`.
    """

    def __init__(self, rng: random.Random, lexicon: dict[bool, Sequence[str]], rare: float):
        self.rng, self.lexicon, self.rare = rng, lexicon, rare

    def review(self) -> tuple[str, bool]:
        kinds: tuple[Callable[[], tuple[str, bool]], ...] = (self.framed, self.contrast, self.majority, self.asked)
        text, opinion = self.rng.choices(kinds, KINDS)[0]()
        return " ".join(text.split()), opinion

    def clause(self, thing: str | None = None) -> tuple[str, bool]:
        opinion = self.rng.random() < 0.5
        words = self.lexicon[opinion]
        frequent = len(words) * 2 // 3
        word = self.rng.choices(words, [1.0] * frequent + [self.rare] * (len(words) - frequent))[0]
        keeps = self.rng.random() < KEEP_SHARE
        text = self.rng.choice(_CLAUSES[keeps])
        thing = thing or self.rng.choice(_THINGS)
        return text.format(thing=thing, word=word, degree=self.rng.choice(_DEGREES)), opinion == keeps

    def framed(self, depths: Sequence[int] = (0, 1, 1, 2)) -> tuple[str, bool]:
        text, opinion = self.clause()
        for _ in range(self.rng.choice(depths)):
            keeps = self.rng.random() < KEEP_SHARE
            text, opinion = self.rng.choice(_FRAMES[keeps]).format(inner=text, **self.people()), opinion == keeps
        return text, opinion

    def contrast(self) -> tuple[str, bool]:
        (main, opinion), (aside, _) = self.framed((0, 0, 1)), self.framed((0, 0, 1))
        return self.rng.choice(_CONTRASTS).format(main=main, aside=aside, **self.people()), opinion

    def majority(self) -> tuple[str, bool]:
        clauses = [self.clause(thing) for thing in self.rng.sample(_THINGS, 3)]
        first, second, third = (text for text, _ in clauses)
        return f"{first} , {second} and {third}", sum(opinion for _, opinion in clauses) >= 2

    def asked(self) -> tuple[str, bool]:
        things = self.rng.sample(_THINGS, self.rng.choice((2, 3)))
        clauses = [self.clause(thing) for thing in things]
        asked = self.rng.randrange(len(things))
        together = " , ".join(text for text, _ in clauses)
        return self.rng.choice(_ASKED).format(thing=things[asked], all=together), clauses[asked][1]

    def people(self) -> dict[str, str]:
        who = self.rng.choice(_WHO).format(place=self.rng.choice(_PLACES), other=self.rng.choice(_THINGS))
        return {"person": self.rng.choice(_PEOPLE), "who": who}
