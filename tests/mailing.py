"""A mail service that remembers, and whom the tests' mails go to."""

from dataclasses import replace

DEV, OPS = "dev@2pisoftware.com", "ops@2pisoftware.com"


class Ses:
    """SES that remembers what it took; `says` holds what it answers instead of taking, by address."""

    def __init__(self):
        self.taken = []
        self.says = {}

    def send_email(self, *, FromEmailAddress, Destination, Content):  # noqa: N803 - SES's own names
        (to,) = Destination["ToAddresses"]
        if to in self.says:
            raise self.says[to]
        self.taken.append((to, Content["Raw"]["Data"]))
        return {"MessageId": f"message-{len(self.taken)} from {FromEmailAddress}"}

    @property
    def told(self):
        return [to for to, _ in self.taken]


def mailing(edge, ses):
    """An installation whose mail goes to `ses`."""
    real = edge.client
    return replace(edge, client=lambda service, region=None: ses if service == "sesv2" else real(service, region))
