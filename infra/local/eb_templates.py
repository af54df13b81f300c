"""The operations on saved configurations, and on settings as an environment or a saved configuration has them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from infra.local.eb_protocol import Params, Refused
from infra.local.eb_state import Records, Template

Options = Mapping[tuple[str, str], str]


class TemplateOperations:
    """Each public method is the operation of its name; it gets checked members and the request's id."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def create_configuration_template(self, params: Params, _: str) -> Params:
        application, name = params["ApplicationName"], params["TemplateName"]
        if "/" in name:
            raise Refused("InvalidParameterValue", f"Value '{name}' at 'TemplateName' must match the pattern [^/]+")
        with self._records.lock:
            self._records.application(application)
            if (application, name) in self._records.templates:
                raise Refused("InvalidParameterValue", f"Configuration Template {name} already exists.")
            stack, options = self._source(params)
            at, description = self._records.now(), params.get("Description")
            made = Template(application, name, description, stack, settings_after(options, params), at, at)
            self._records.templates[application, name] = made
        return _described(made)

    def delete_configuration_template(self, params: Params, _: str) -> Params:
        with self._records.lock:
            found = self._records.template(params["ApplicationName"], params["TemplateName"])
            del self._records.templates[found.application, found.name]
        return {}

    def describe_configuration_settings(self, params: Params, _: str) -> Params:
        if bool(params.get("TemplateName")) == bool(params.get("EnvironmentName")):
            raise Refused(
                "InvalidParameterCombination", "You must specify either TemplateName or EnvironmentName, but not both."
            )
        if params.get("TemplateName"):
            with self._records.lock:
                found = self._records.template(params["ApplicationName"], params["TemplateName"])
            return {"ConfigurationSettings": [_described(found)]}
        environment = self._records.environment(params)
        return {
            "ConfigurationSettings": [
                {
                    "EnvironmentName": environment.name,
                    "DeploymentStatus": "pending" if environment.busy else "deployed",
                    **_settings(
                        environment.application,
                        environment.description,
                        environment.stack,
                        environment.options,
                        (environment.created_at, environment.updated_at),
                    ),
                }
            ]
        }

    def _source(self, params: Params) -> tuple[str, Options]:
        """The platform and the settings that it begins with: an environment's, another's, or those of a platform."""
        if params.get("EnvironmentId"):
            environment = self._records.environment({"EnvironmentId": params["EnvironmentId"]})
            return environment.stack, environment.options
        if source := params.get("SourceConfiguration"):
            other = self._records.template(source.get("ApplicationName", ""), source.get("TemplateName", ""))
            return other.stack, other.options
        if stack := params.get("SolutionStackName"):
            if "Docker" not in stack:
                raise Refused("InvalidParameterValue", f"No Solution Stack named '{stack}' found.")
            return stack, {}
        raise Refused(
            "MissingRequiredParameter", "You must specify EnvironmentId, SourceConfiguration or SolutionStackName."
        )


def settings_after(before: Options, params: Params) -> dict[tuple[str, str], str]:
    """Settings after a request."""
    removed = {(one.get("Namespace", ""), one.get("OptionName", "")) for one in params.get("OptionsToRemove", [])}
    kept = {key: value for key, value in before.items() if key not in removed}
    new = {
        (one.get("Namespace", ""), one.get("OptionName", "")): one.get("Value", "")
        for one in params.get("OptionSettings", [])
    }
    return {**kept, **new}


def _described(template: Template) -> Params:
    times = template.created_at, template.updated_at
    return {
        "TemplateName": template.name,
        **_settings(template.application, template.description, template.stack, template.options, times),
    }


def _settings(
    application: str, description: str | None, stack: str, options: Options, times: tuple[datetime, datetime]
) -> Params:
    return {
        "SolutionStackName": stack,
        "ApplicationName": application,
        "Description": description,
        "DateCreated": times[0],
        "DateUpdated": times[1],
        "OptionSettings": [
            {"Namespace": space, "OptionName": name, "Value": value} for (space, name), value in sorted(options.items())
        ],
    }
