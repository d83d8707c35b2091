"""A sentence for each finding, and none where there is nothing to find."""

from models.fitting.advice import advice

GOOD = {
    "seeds": 30,
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
        "seeds": 30,
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
    assert "IoU 0.40, 30% of it taken for floor" in iou
    assert sure == "The labeler is surer of the masks than it is right, by 18% on average: give more seeds."
    assert "nose is found in 50% of the seeds held out (within 10% of the box around the points)" in point
    assert "off by 25%" in depth
    assert "panda is taken for koala" in species
    assert "(segmentation)" in discarding
    assert len(advice(ENOUGH, bad | {"seeds": 29})) == 5, "29 seeds do not tell"
    assert len(advice(ENOUGH | {"segmentation": {"bear": 2}}, bad)) == 6, (
        "instead of how it is labeled, that it is rare"
    )


def test_what_is_painted_over_others_is_not_said_to_be_missed() -> None:
    confused = [
        {"truth": "fur", "predicted": "scarf", "share": 0.375},
        {"truth": "scarf", "predicted": "fur", "share": 0.05},
    ]
    (sentence,) = advice({}, GOOD | {"segmentation": {"class_iou": {"scarf": 0.38}, "confused": confused}})
    assert "(IoU 0.38, 38% of fur taken for it)" in sentence


def test_discarding_is_advised_against_only_where_no_kind_gains() -> None:
    none, some = {"area": 0.2, "oracle": 0.1, "none": 0.2}, {"area": 0.1, "oracle": 0.1, "none": 0.2}
    rare = {"area": 0.08, "oracle": 0.01, "none": 0.06}

    def said(**kinds: dict[str, float]) -> list[str]:
        return advice(ENOUGH, GOOD | {"risk_coverage": kinds})

    (sentence,) = said(segmentation=none, depth=none)
    assert "(segmentation, depth)" in sentence and "`discard_fraction` may as well be 0" in sentence
    assert said(segmentation=none, depth=some) == []
    assert said(**{"class": rare}) == [], "two wrong seeds of 30 do not tell"
    assert len(said(**{"class": rare | {"none": 0.1, "area": 0.1}})) == 1


def test_more_is_to_be_discarded_only_where_that_helps() -> None:
    bins = [{"confidence": 0.95, "right": 0.6, "count": 10}]
    sure = {"segmentation": {"class_iou": {}, "confused": [], "reliability": {"bins": bins}}}
    (sentence,) = advice(ENOUGH, GOOD | sure)
    assert sentence.endswith("give more seeds, or discard more of the uncertain samples.")
    (sentence,) = advice(ENOUGH, GOOD | sure | {"seeds": 29})
    assert sentence.endswith("give more seeds.")


def test_few_seeds_do_not_tell_how_sure_one_may_be_of_an_attribute() -> None:
    bins = [{"confidence": 1.0, "right": 0.8, "count": 5}]
    sure = {"class": {"species": {"accuracy": 0.95, "confused": [], "reliability": {"bins": bins}}}}
    assert advice(ENOUGH, GOOD | sure | {"seeds": 9}) == []
    assert len(advice(ENOUGH, GOOD | sure | {"seeds": 10})) == 1


def test_a_single_point_is_judged_by_the_image() -> None:
    (sentence,) = advice(ENOUGH, GOOD | {"keypoints": {"alpha": 0.1, "point_pck": {"nose": 0.5}}})
    assert "(within 10% of the image)" in sentence


def test_too_few_seeds_to_hold_any_out_is_said() -> None:
    (sentence,) = advice(ENOUGH, None)
    assert "at least 5 seeds" in sentence
