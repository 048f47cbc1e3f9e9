from pathlib import Path

from serve_app.check.reference import reference


def test_the_configuration_page_is_what_the_models_say() -> None:
    page = Path("docs/configuration.md").read_text()

    assert page == reference(), "run: python -m serve_app.check.reference > docs/configuration.md"
