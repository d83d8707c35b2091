"""A sentence for each finding, and none where there is nothing to find."""

from models.fitting.advice import advice

GOOD = {
    "seeds": 12,
    "risk_coverage": {"segmentation": {"area": 0.1, "oracle": 0.05, "none": 0.2}},
    "segmentation": {"mean_iou": 0.9, "class_iou": {"floor": 0.9, "bear": None}, "confused": []},
    "keypoints": {"alpha": 0.1, "point_pck": {"nose": 1.0}},
    "depth": {"abs_rel": 0.02},
    "class": {"species": {"accuracy": 1.0, "confused": []}},
}
ENOUGH = {"segmentation": {"floor": 9, "bear": 9}, "keypoints": {"nose": 9}, "class": {"species": {"panda": 9}}}


def test_where_all_is_well_nothing_is_said() -> None:
    assert advice(ENOUGH, GOOD) == []


def test_few_examples_are_named() -> None:
    few = {"segmentation": {"floor": 0, "bear": 9}, "keypoints": {"nose": 1}, "class": {"species": {"panda": 2}}}
    none, one, two = advice(few, GOOD)
    assert none.startswith("Class floor: no seed of the fit shows it; give at least 3")
    assert one.startswith("Point nose: only one seed of the fit labels it")
    assert two.startswith("Species panda: only 2 seeds of the fit have it")


def test_every_poor_figure_gets_its_sentence() -> None:
    bins = [{"confidence": 0.95, "right": 0.6, "count": 10}, {"confidence": 0.6, "right": 0.6, "count": 10}]
    bad = {
        "seeds": 12,
        "risk_coverage": {"segmentation": {"area": 0.2, "oracle": 0.1, "none": 0.2}},
        "segmentation": {
            "class_iou": {"floor": 0.9, "bear": 0.4},
            "confused": [{"truth": "bear", "predicted": "floor", "share": 0.3}],
            "reliability": {"bins": bins},
        },
        "keypoints": {"alpha": 0.1, "point_pck": {"nose": 0.5, "paw": None}},
        "depth": {"abs_rel": 0.25},
        "class": {
            "species": {
                "accuracy": 0.5,
                "confused": [{"truth": "panda", "predicted": "koala", "share": 0.5}],
                "reliability": {"bins": bins[1:]},
            }
        },
    }
    iou, sure, point, depth, species, discarding = advice(ENOUGH, bad)
    assert "bear" in iou
    assert "IoU 0.40, mostly taken for floor" in iou
    assert "surer of the masks than it is right, by 18%" in sure
    assert "nose is found in 50% of the seeds held out (within 10% of the box around the points)" in point
    assert "off by 25%" in depth
    assert "panda is taken for koala" in species
    assert "(segmentation)" in discarding
    assert len(advice(ENOUGH, bad | {"seeds": 9})) == 5, "nine seeds do not tell"


def test_a_single_point_is_judged_by_the_image() -> None:
    (sentence,) = advice(ENOUGH, GOOD | {"keypoints": {"alpha": 0.1, "point_pck": {"nose": 0.5}}})
    assert "(within 10% of the image)" in sentence


def test_too_few_seeds_to_hold_any_out_is_said() -> None:
    (sentence,) = advice(ENOUGH, None)
    assert "at least 5 seeds" in sentence
