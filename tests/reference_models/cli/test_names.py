"""Networks' names on the command line: `-` and `_` are one."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from reference_models.cli import prepare, train
from reference_models.cli.app import app
from reference_models.export.subject import subject
from reference_models.papers.claims.registry import chosen


@pytest.mark.parametrize("name", ["dba-net", "dba_net"])
def test_every_command_knows_a_network_by_either_name(name: str, tmp_path):
    assert train._recipe(name, None, None, [], budget=True).network == "dba_net"
    assert prepare._preparation_and_search(name, size=None, margin=None, box=None, difference=False)[0].align == "crop"
    assert {claim.name.partition("/")[0] for claim in chosen([name])} == {"dba-net"}
    assert subject(name, 64).recipe.network == "dba_net"
    looked = CliRunner().invoke(app, ["look", str(tmp_path / "absent.png"), "--model", name])
    assert "absent.png" in looked.stderr


@pytest.mark.parametrize("name", ["dbanet", "dba net"])
def test_another_name_is_refused_with_those_that_there_are(name: str):
    with pytest.raises(ValueError, match="dba-net"):
        train._recipe(name, None, None, [], budget=True)
    with pytest.raises(ValueError, match="dba_net"):
        subject(name, None)
