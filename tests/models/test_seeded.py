"""Weights that begin at random."""

import threading

import torch

from models.seeded import seeded


def test_what_is_drawn_follows_from_the_seed_and_the_rest_goes_on_as_before() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with seeded(1):
        one = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with seeded(1):
        assert torch.equal(torch.rand(3), one)


def test_threads_draw_one_after_the_other() -> None:
    inside, leave, drawn = threading.Event(), threading.Event(), list[torch.Tensor]()

    def slow() -> None:
        with seeded(1):
            inside.set()
            assert leave.wait(30)
            drawn.append(torch.rand(3))

    def quick() -> None:
        with seeded(2):
            drawn.append(torch.rand(3))

    first, second = threading.Thread(target=slow), threading.Thread(target=quick)
    first.start()
    assert inside.wait(30)
    second.start()
    second.join(0.2)
    assert second.is_alive() and not drawn
    leave.set()
    first.join()
    second.join()
    for seed, found in enumerate(drawn, 1):
        with seeded(seed):
            assert torch.equal(torch.rand(3), found)
