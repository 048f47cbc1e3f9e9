"""Adapters are found by name in their folder, and nothing else is."""

from pathlib import Path

import pytest

from deployments.adapters import (
    Adapter,
    FolderLoader,
    UnfitAdapter,
    UnknownAdapter,
    adapted,
    adapter_names,
    find_adapter,
)
from deployments.spec import TierSpec
from tests.unit.deployments.builders import an_adapter


def test_an_adapter_is_the_folder_of_its_name(tmp_path: Path) -> None:
    path = an_adapter(tmp_path, "support")
    assert find_adapter(tmp_path, "zephyr-7b:support") == Adapter("zephyr-7b:support", str(path))


def test_names_are_those_of_folders_with_a_config(tmp_path: Path) -> None:
    # Given two adapters, an empty folder and a file
    for name in ("support", "billing"):
        an_adapter(tmp_path, name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("")

    # Then
    assert adapter_names(tmp_path) == ["billing", "support"]
    assert adapter_names(tmp_path / "nowhere") == []


def test_an_unknown_adapter_is_a_404_that_lists_the_others(tmp_path: Path) -> None:
    an_adapter(tmp_path, "support")
    with pytest.raises(UnknownAdapter, match=r"'suport' .* there are support") as caught:
        find_adapter(tmp_path, "zephyr-7b:suport")
    assert caught.value.http_status == 404


@pytest.mark.parametrize("name", ["..", "../other", "a/b", "", ".hidden", "x" * 200])
def test_a_name_never_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    an_adapter(tmp_path, "other")
    (tmp_path / "inside").mkdir()
    with pytest.raises(UnknownAdapter):
        find_adapter(tmp_path / "inside", f"tier:{name}")


def test_what_is_no_lora_is_refused_with_what_it_is(tmp_path: Path) -> None:
    an_adapter(tmp_path, "prefix", peft_type="PREFIX_TUNING")
    with pytest.raises(UnfitAdapter, match="type PREFIX_TUNING; vLLM serves LORA"):
        find_adapter(tmp_path, "tier:prefix")


def test_a_damaged_config_and_missing_weights_are_refused(tmp_path: Path) -> None:
    (an_adapter(tmp_path, "damaged") / "adapter_config.json").write_text("{")
    (an_adapter(tmp_path, "bare") / "adapter_model.safetensors").unlink()
    for name, reason in (("damaged", "damaged adapter_config"), ("bare", "has no adapter_model")):
        with pytest.raises(UnfitAdapter, match=reason):
            find_adapter(tmp_path, f"tier:{name}")


async def test_an_adapter_that_appears_later_is_found(tmp_path: Path) -> None:
    loader = FolderLoader(tmp_path)
    with pytest.raises(UnknownAdapter, match="its folder is empty"):
        await loader.load_model_from_config("tier:new", None)
    path = an_adapter(tmp_path, "new")
    assert (await loader.load_model_from_config("tier:new", None)).local_path == str(path)


@pytest.mark.parametrize(("adapter", "name"), [(None, "tier"), ("support", "tier:support")])
def test_a_tier_with_an_adapter_has_a_name_of_its_own(adapter: str | None, name: str) -> None:
    assert adapted("tier", adapter) == name


@pytest.mark.parametrize(("location", "folder"), [
    ("~/adapters", "~/adapters"), ("s3://bucket/adapters", None), (None, None),
])  # fmt: skip
def test_folders_are_ours_and_buckets_are_rays(location: str | None, folder: str | None) -> None:
    # Given
    lora = {"dynamic_lora_loading_path": location, "max_num_adapters_per_replica": 4}
    loading = {"model_id": "small"}
    spec = TierSpec.model_validate({"model_loading_config": loading, "lora_config": lora})

    # Then Ray, which takes buckets only, never sees a folder
    assert spec.adapters_folder == folder
    handed_on = spec.ray_llm_config()["lora_config"]
    assert handed_on.get("dynamic_lora_loading_path") == (None if folder else location)
    assert handed_on["max_num_adapters_per_replica"] == 4
