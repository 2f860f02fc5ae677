"""A page as a strict parser reads it, and what must hold of every page."""

from __future__ import annotations

import re
from collections import Counter
from xml.etree import ElementTree as ET

import html5lib

REFERENCES = ("aria-labelledby", "aria-describedby", "aria-controls", "for", "data-for")
ADDRESSES = ("src", "href", "srcset", "action", "data", "poster", "background")


def parsed(page: str) -> ET.Element:
    """Return the tree of a page; anything that HTML does not allow is an error."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(page)


def local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def with_class(tree: ET.Element, name: str) -> list[ET.Element]:
    return [each for each in tree.iter() if name in (each.get("class") or "").split()]


def spoken(element: ET.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def check(page: str) -> ET.Element:
    """Check what holds of every page, and return its tree."""
    tree = parsed(page)
    identities = Counter(each.get("id") for each in tree.iter() if each.get("id") is not None)
    assert [name for name, count in identities.items() if count > 1 or re.search(r"\s", name) or not name] == []
    for each in tree.iter():
        for name in REFERENCES:
            for target in (each.get(name) or "").split():
                assert target in identities, f"{name}={target}"
        for name, value in each.attrib.items():
            if name.rpartition("}")[2] in ADDRESSES:
                assert value.startswith(("#", "data:")), f"<{local(each)} {name}={value[:60]}>"
                assert not value.startswith("#") or value[1:] in identities, value
            for target in re.findall(r"url\(([^)]*)\)", value):
                assert target.startswith("#"), target
                assert target[1:] in identities, target
        if local(each) == "img":
            assert each.get("alt")
        if local(each) == "button":
            assert spoken(each)
    style = "".join(spoken(each) for each in tree.iter() if local(each) == "style")
    assert "url(" not in style
    assert "@import" not in style
    labels = [each for each in tree.iter() if local(each) == "label"]
    named = {field for label in labels if spoken(label) for field in label.iter()}
    assert {each for each in tree.iter() if local(each) in {"input", "select"}} <= named
    assert tree.find("head/title").text
    assert tree.get("lang") == "en"
    return tree
