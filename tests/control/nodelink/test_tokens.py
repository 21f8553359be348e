import pytest

from loraforge.nodelink.tokens import file_key, file_token
from loraforge.nodes.models import Node
from loraforge.nodes.services import node_add, node_token_renew
from nodeagent.contract.filetokens import TokenError, token_verify

pytestmark = pytest.mark.django_db


def test_a_token_opens_one_path_of_one_node() -> None:
    node, _token = node_add(actor=None, name="n1")
    other, _token = node_add(actor=None, name="n2")
    text = file_token(node=node, method="GET", path="/jobs/1/a1/output/x", user="7")
    assert (
        token_verify(key=file_key(node), method="GET", path="/jobs/1/a1/output/x", token=text)
        == "7"
    )
    for key, path in ((file_key(other), "/jobs/1/a1/output/x"), (file_key(node), "/jobs/1/a1/y")):
        with pytest.raises(TokenError):
            token_verify(key=key, method="GET", path=path, token=text)


def test_a_renewed_node_token_changes_the_key() -> None:
    node, _token = node_add(actor=None, name="n1")
    before = file_key(node)
    node_token_renew(actor=None, node=node)
    assert file_key(Node.objects.get(name="n1")) != before
    assert len(before) == 32
