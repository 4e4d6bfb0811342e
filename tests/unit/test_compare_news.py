"""`make compare` with another Xen: what that one answers otherwise than 4.17 is told apart."""

from tools.compare.__main__ import without_news
from tools.compare.transcript import differences

BEFORE = {"same": "0", "changed": "-EINVAL", "ours": "1", "gone": "5"}
NOW = {"same": "0", "changed": "-EPERM", "ours": "1", "new": "7"}
PROXEN = {"same": "0", "changed": "-EINVAL", "ours": "2", "gone": "5", "new": "7"}


def test_what_a_later_xen_changed_is_no_difference_of_ours(capsys):
    left = differences(without_news(NOW, BEFORE, PROXEN), PROXEN)
    assert [d.name for d in left] == ["ours", "gone"]
    shown = capsys.readouterr().out
    assert "changed\n    4.17    -EINVAL\n    now     -EPERM\n    proxen  -EINVAL" in shown
    assert "ours" not in shown
