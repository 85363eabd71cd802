"""The plot of a comparison of methods."""

from tinybert_tf.report.methods import _plot


def test_methods_stand_in_their_order_in_every_panel():
    rows = [
        {"method": method, "task": task, "score": score, "paper": None}
        for task in ("sst2", "cola", "mrpc")
        for method, score in (("first", 0.9), ("second", 0.5), ("third", 0.7))
    ]
    for tasks in (("sst2",), ("sst2", "cola"), ("sst2", "cola", "mrpc")):
        figure = _plot([row for row in rows if row["task"] in tasks], "10 steps")
        assert len(figure.axes) == len(tasks)
        for axis in figure.axes:
            low, high = axis.get_ylim()
            assert low > high, "the first method is at the top"
            assert [bar.get_width() for bar in axis.patches] == [90, 50, 70]
