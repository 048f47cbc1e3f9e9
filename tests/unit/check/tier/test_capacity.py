from serve_app.check.tier.capacity import missing_resources
from tests.unit.check.builders import a_config, a_tier

TWO_GPUS = {"tensor_parallel_size": 2}


def test_a_cluster_with_everything_misses_nothing() -> None:
    config = a_config(a_tier(), a_tier("big", engine_kwargs=TWO_GPUS))

    assert missing_resources(config, {"CPU": 2, "GPU": 3}) == []


def test_what_is_missing_names_tiers_numbers_and_what_to_run_instead() -> None:
    config = a_config(a_tier(), a_tier("big", engine_kwargs=TWO_GPUS))

    gpu, instead = missing_resources(config, {"CPU": 8.0})

    assert gpu == (
        "zephyr-7b (1 replica x 1 GPU) and big (1 replica x 2 GPU) need 3 GPU, "
        "the cluster has none."
    )
    assert "make up" in instead


def test_the_smallest_number_of_replicas_counts() -> None:
    autoscaling = {"autoscaling_config": {"min_replicas": 2, "max_replicas": 9}}
    config = a_config(a_tier(deployment_config=autoscaling))

    assert missing_resources(config, {"CPU": 2, "GPU": 2}) == []
    assert "need" in missing_resources(config, {"CPU": 2, "GPU": 1})[0]


def test_a_tier_that_scales_to_zero_needs_nothing_to_start() -> None:
    config = a_config(a_tier(deployment_config={"autoscaling_config": {"min_replicas": 0}}))

    assert missing_resources(config, {}) == []


def test_custom_resources_and_accelerator_types_count() -> None:
    options = {"ray_actor_options": {"num_cpus": 0, "resources": {"A6000": 1}}}
    config = a_config(a_tier(deployment_config=options, accelerator_type="A100"))

    sentences = " ".join(missing_resources(config, {"GPU": 1}))

    assert "need" in sentences
    assert "A6000" in sentences
    assert "asks for nodes with A100" in sentences


def test_cpu_tiers_need_cpus_and_fake_ones_nothing() -> None:
    config = a_config(
        a_tier("a", accelerator_config={"kind": "cpu"}, deployment_config=_NO_CPU),
        a_tier("b", fake={}),
    )

    assert missing_resources(config, {"CPU": 1}) == []
    assert "1 CPU" in missing_resources(config, {})[0]


_NO_CPU = {"ray_actor_options": {"num_cpus": 0}}
