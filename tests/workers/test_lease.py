"""One worker at a time, without a wait for the dead."""

import redis as redis_client

from workers.lease import lease


def never() -> bool:
    return False


def test_another_job_waits_until_told_to_give_up(redis: redis_client.Redis) -> None:
    asked = iter([True, False])
    with lease(redis, "fit:key", "job-1", never) as held:
        assert held is not None
        with lease(redis, "fit:key", "job-2", lambda: next(asked)) as refused:
            assert refused is None
        held()
    with lease(redis, "fit:key", "job-2", never) as free:
        assert free is not None


def test_a_job_takes_its_own_lease_up_again(redis: redis_client.Redis) -> None:
    redis.set("labelmint:fit:key", "job-1", px=60_000)
    with lease(redis, "fit:key", "job-1", never) as held:
        assert held is not None
    assert redis.get("labelmint:fit:key") is None


def test_a_lease_that_ran_out_does_no_harm(redis: redis_client.Redis) -> None:
    with lease(redis, "fit:key", "job-1", never) as held:
        redis.set("labelmint:fit:key", "job-2")
        assert held is not None
        held()
    assert redis.get("labelmint:fit:key") == b"job-2"
