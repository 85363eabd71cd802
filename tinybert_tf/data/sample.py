"""The built-in task: short reviews made by a grammar, so that the whole pipeline runs without a download.

What makes it hard for a small network with random initial weights:
- negation, also double and at a distance ("nothing about the plot was dull");
- contrast, where the grammar, not the order of words, decides which clause counts ("although ..., ...");
- other people's opinions, which do not count, inside long relative clauses;
- a lexicon of which a third occurs in only a few training rows but as often as the rest in the dev rows: a pretrained
  teacher knows these words, and a student learns them from its hidden states;
- three in a hundred training labels are wrong.
"""

import functools
import random

from tinybert_tf.data.split import Example, Split

TRAIN_ROWS, DEV_ROWS, TEST_ROWS = 6000, 1000, 1000
LABEL_NOISE = 0.03
RARE_SHARE = 0.03
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
_CLAUSES = (
    "who lives near {place}",
    "who never liked the {other}",
    "who thought the {other} was {distractor}",
    "who had called the {other} {distractor} for years",
    "who always talks about the {other}",
)

# Each template: its text, and whether the label is that of {word} (True) or its opposite (False).
# {distractor} may be of either kind and never counts.
TEMPLATES = (
    ("the {thing} was {degree} {word}", True),
    ("what a {word} {thing} this was", True),
    ("i have to say the {thing} , which we saw in {place} , was {degree} {word}", True),
    ("the {thing} was not {word}", False),
    ("the {thing} was never {word} , not for a minute", False),
    ("nothing about the {thing} was {word}", False),
    ("i would not call this {thing} {word}", False),
    ("the {thing} was anything but {word}", False),
    ("it is not true that the {thing} was {word}", False),
    ("it is not true that the {thing} was not {word}", True),
    ("nobody could say that the {thing} was not {word}", True),
    ("although the {other} was {distractor} , the {thing} was {degree} {word}", True),
    ("although the {other} was {distractor} , the {thing} was not {word}", False),
    ("the {thing} was {degree} {word} , although the {other} was {distractor}", True),
    ("the {thing} was not {word} , even though the {other} was {distractor}", False),
    ("the {other} was {distractor} but the {thing} was {degree} {word}", True),
    ("the {other} was {distractor} but the {thing} was hardly {word}", False),
    ("my {person} found the {thing} {distractor} , but to me it was {degree} {word}", True),
    ("my {person} found the {thing} {distractor} , but to me it was far from {word}", False),
    ("everyone told us the {thing} was {word} and they were right", True),
    ("everyone told us the {thing} was {word} and they were wrong", False),
    ("my {person} said the {thing} was {word} and i could not agree more", True),
    ("my {person} said the {thing} was {word} and i could not agree less", False),
    ("the {thing} that my {person} , {clause} , told us about was {degree} {word}", True),
    ("the {thing} that my {person} , {clause} , told us about was not {word} at all", False),
    ("the {thing} , unlike the {distractor} {other} before it , was {degree} {word}", True),
    ("we expected a {word} {thing} and that is what we got", True),
    ("we expected a {word} {thing} and that is not what we got", False),
    ("had the {other} been less {distractor} , i would still call the {thing} {word}", True),
    ("if only the {thing} had been {word}", False),
    ("the {thing} was as {word} as the {other} was {distractor}", True),
    ("the {thing} stopped being {word} once my {person} , {clause} , arrived", False),
)


def sample_split(name: str, seed: int = _SEED) -> Split:
    """A split of the sample: "train", "dev" or "test" (here with labels)."""
    rows = _rows(seed)[name]
    return Split(name, "the built-in sample", lambda: iter(rows))


@functools.cache
def _rows(seed: int) -> dict[str, list[Example]]:
    rng = random.Random(seed)
    positive, negative = rng.sample(POSITIVE, len(POSITIVE)), rng.sample(NEGATIVE, len(NEGATIVE))
    used: set[str] = set()
    splits = {}
    for name, count in (("train", TRAIN_ROWS), ("dev", DEV_ROWS), ("test", TEST_ROWS)):
        rows: list[Example] = []
        while len(rows) < count:
            text, label = _sentence(rng, positive, negative, RARE_SHARE if name == "train" else 1.0)
            if text in used:
                continue
            used.add(text)
            if name == "train" and rng.random() < LABEL_NOISE:
                label = not label
            rows.append(Example(len(rows), text, None, "positive" if label else "negative"))
        splits[name] = rows
    return splits


def _sentence(rng: random.Random, positive, negative, rare: float) -> tuple[str, bool]:
    """A sentence and whether it is positive. Words of the last third are taken with `rare` times the others' chance."""

    def adjective(is_positive: bool) -> str:
        words = positive if is_positive else negative
        frequent = len(words) * 2 // 3
        weights = [1.0] * frequent + [rare] * (len(words) - frequent)
        return rng.choices(words, weights)[0]

    template, keeps = rng.choice(TEMPLATES)
    is_positive = rng.random() < 0.5
    thing, other = rng.sample(_THINGS, 2)
    parts = {
        "thing": thing,
        "other": other,
        "person": rng.choice(_PEOPLE),
        "place": rng.choice(_PLACES),
        "degree": rng.choice(_DEGREES),
        "word": adjective(is_positive),
        "distractor": adjective(rng.random() < 0.5),
    }
    parts["clause"] = rng.choice(_CLAUSES).format(**parts)
    text = " ".join(template.format(**parts).split())
    return text, is_positive == keeps
