"""A developer, and nothing of theirs left in the engine at the end."""

import pytest

from tests.runner.laptop.developer import Developer


@pytest.fixture
def sam(lab, tmp_path):
    before = {image["Id"] for image in lab.client.api.images()}
    yield Developer(lab, tmp_path)
    for image in lab.client.api.images():
        for name in image["RepoTags"] or []:
            if image["Id"] not in before and name.split(":")[0] in {lab.name("laptop"), "tau-kept"}:
                lab.client.api.remove_image(name, force=True)
