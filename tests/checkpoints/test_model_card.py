"""A model card holds the hub's metadata and says how to load the model."""

import dataclasses

import yaml

from tinybert_tf.checkpoints.model_card import ModelCard, add_measured, model_card_text, write_model_card

CARD = ModelCard(
    head="classification",
    task="sst2",
    data="67,349 rows",
    parameters=14_360_000,
    scores={"accuracy": 0.8911},
    teacher="a teacher of 90.1",
    measured={"int8 file": "14.6 MB"},
    settings={"seed": 0, "text": "a|b <b>", "nothing": None},
)


def test_the_metadata_block_is_yaml_with_the_scores():
    metadata = yaml.safe_load(model_card_text(CARD, "student").split("---\n")[1])
    assert metadata["pipeline_tag"] == "text-classification"
    result = metadata["model-index"][0]["results"][0]
    assert result["metrics"] == [{"type": "accuracy", "value": 0.8911}] and result["dataset"]["name"] == "sst2"


def test_the_card_says_task_data_teacher_scores_sizes_and_how_to_load():
    text = model_card_text(CARD, "student")
    for part in (
        "14.4 million",
        "sst2",
        "67,349 rows",
        "a teacher of 90.1",
        "89.1",
        "14.6 MB",
        "AutoModelForSequenceClassification",
    ):
        assert part in text
    assert 'tb.load_model("student")' in text and "nothing" not in text


def test_quoted_text_ends_no_table_and_opens_no_tag():
    assert "`a\\|b &lt;b>`" in model_card_text(CARD, "student")


def test_an_encoder_has_no_scores_and_is_written_beside_its_weights(tmp_path):
    card = ModelCard("encoder", None, "Wikipedia", 1000, {})
    path = write_model_card(tmp_path, card)
    text = path.read_text()
    assert path.name == "README.md" and "## Scores" not in text and "AutoModel.from_pretrained" in text


def test_figures_that_are_added_replace_those_of_the_same_name(tmp_path):
    path = write_model_card(tmp_path, CARD)
    add_measured(tmp_path, {"int8 file": "14.6 MB, 1.83 ms"})
    card = dataclasses.replace(CARD, measured={"int8 file": "14.6 MB, 1.83 ms"})
    assert path.read_text() == model_card_text(card, tmp_path.name)


def test_a_readme_of_another_kind_and_a_model_without_one_are_left_alone(tmp_path):
    add_measured(tmp_path, {"int8 file": "1 MB"})
    assert not list(tmp_path.iterdir())
    (tmp_path / "README.md").write_text("# Mine\n")
    add_measured(tmp_path, {"int8 file": "1 MB"})
    assert (tmp_path / "README.md").read_text() == "# Mine\n"
