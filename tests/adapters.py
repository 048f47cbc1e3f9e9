"""One real tier with trained adapters, for tests: trains them and says what to serve."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployments.weights.scripts import run_script

REPOSITORY = Path(__file__).parents[1]
TIER = "smollm2-135m"


def train(folder: Path, answers: Mapping[str, str]) -> None:
    """One adapter of the embedded model for each name, which gives that answer to anything."""
    pairs = [f"{name}={answer}" for name, answer in answers.items()]
    script = REPOSITORY / "docs" / "train_adapter.py"
    run_script([sys.executable, script, folder, *pairs], {"PYTHONPATH": str(REPOSITORY)})


def one_tier(folder: Path, places: int, num_replicas: int = 1) -> dict[str, Any]:
    """`args` of the embedded model with `places` for the adapters in `folder`."""
    return {
        "llm_configs": [
            {
                "model_loading_config": {"model_id": TIER, "model_source": f"embedded:{TIER}"},
                "accelerator_config": {"kind": "cpu"},
                "engine_kwargs": {
                    "dtype": "bfloat16", "enforce_eager": True, "max_model_len": 512,
                    "max_num_seqs": 8, "block_size": 32, "gpu_memory_utilization": 0.3,
                    "scheduling_policy": "priority", "enable_lora": True, "max_loras": places,
                    "max_cpu_loras": places, "max_lora_rank": 8,
                },
                "lora_config": {
                    "dynamic_lora_loading_path": str(folder),
                    "max_num_adapters_per_replica": places,
                },
                "deployment_config": {
                    "num_replicas": num_replicas, "ray_actor_options": {"num_cpus": 0}
                },
                "runtime_env": {"env_vars": {"VLLM_CPU_KVCACHE_SPACE": "1"}},
            }
        ],
        "slo_classes": {"patient": {"e2e_ms": 600_000}},
    }  # fmt: skip
