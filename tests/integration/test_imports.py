"""What the router's process loads: it runs on the head node and must stay small."""

import subprocess
import sys


def test_the_router_never_loads_an_engine() -> None:
    heavy = "'vllm', 'torch', 'transformers', 'ray.llm'"
    program = (
        "import sys, serve_app.api.ingress, deployments.fake\n"
        f"print([name for name in ({heavy}) if name in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"
