"""An unmodified Ray Serve LLM application, with nothing but its import_path changed.

Takes one to three minutes on two cores.
"""

import openai

from deployments.local_models import embedded_path, prepare
from tests.serving import serving


def test_args_written_for_ray_serve_llm_serve_as_they_are() -> None:
    # Given args that `ray.serve.llm:build_openai_app` takes, with no key of ours
    prepare(["smollm2-135m"], print)
    args = {
        "llm_configs": [
            {
                "model_loading_config": {
                    "model_id": "my-model",
                    "model_source": str(embedded_path("smollm2-135m")),
                },
                "accelerator_config": {"kind": "cpu"},
                "engine_kwargs": {
                    "enforce_eager": True,
                    "max_model_len": 1024,
                    "gpu_memory_utilization": 0.3,
                    "dtype": "bfloat16",
                },
                "deployment_config": {
                    "autoscaling_config": {"min_replicas": 1, "max_replicas": 1},
                    "ray_actor_options": {"num_cpus": 0},
                },
                "runtime_env": {"env_vars": {"VLLM_CPU_KVCACHE_SPACE": "1"}},
            }
        ]
    }
    # When Tandem serves them
    with serving(args, patience_s=600.0) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="unused")
        reply = client.chat.completions.create(
            model="my-model",
            messages=[{"role": "user", "content": "What is the capital of France?"}],
            max_tokens=16,
            temperature=0,
        )
    # Then it answers as it would have
    assert "Paris" in (reply.choices[0].message.content or "")
