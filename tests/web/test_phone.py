"""Pages on a phone: the actions of a page are one menu."""

from playwright.sync_api import Page, expect

from tests.support.chromium import Person
from tests.support.served_gateway import Gateway


def test_actions_are_a_menu_on_a_phone(gateway: Gateway, signed_in: Page, person: Person) -> None:
    """On a phone the actions of a model open by a button, without scripts; on a wide screen they
    are beside the heading."""
    client = gateway.client
    project = client.post("/projects", {"name": f"phone-{person.name}", "template": "blank"})
    base = f"/projects/{project['id']}"
    client.put(f"{base}/collaborators/{person.name}", {"permission": "contributor"})
    model = client.post(f"{base}/models", {"name": "m"})
    signed_in.goto(f"{base}/models/{model['id']}")
    menu = signed_in.get_by_role("button", name="Actions")
    action = signed_in.get_by_role("link", name="Deploy New Build").first
    expect(action).to_be_visible()
    expect(menu).to_be_hidden()
    signed_in.set_viewport_size({"width": 390, "height": 844})
    expect(action).to_be_hidden()
    menu.click()
    expect(action).to_be_visible()
    signed_in.keyboard.press("Escape")
    expect(action).to_be_hidden()
