"""What the router's process loads: it runs on the head node and must stay small."""

import subprocess
import sys


def test_the_router_never_loads_an_engine() -> None:
    heavy = "'vllm', 'torch', 'transformers', 'ray.llm'"
    program = (
        "import sys, serve_app.api.ingress, deployments.fake.server\n"
        f"print([name for name in ({heavy}) if name in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "[]"


def test_a_subcommand_loads_no_other() -> None:
    heavy = "'numpy', 'serve_app.config', 'ray', 'boto3'"
    program = (
        "import sys, typer.testing, serve_app.cli\n"
        "said = typer.testing.CliRunner().invoke(serve_app.cli.app, ['store', 'ls', '--help'])\n"
        f"print(said.exit_code, [name for name in ({heavy}) if name in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert loaded.stdout.strip() == "0 []"
