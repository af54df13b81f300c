"""What the stack and the functions' policies promise: private files, no lost message, no right too many."""

import json
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml

from chalicelib.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
STACK, POOL = ROOT / "infra" / "stack.yml", ROOT / "infra" / "pool.yml"
CHALICE = ROOT / ".chalice"
CONFIG = json.loads((CHALICE / "config.json").read_text())
STAGES = sorted(CONFIG["stages"])


class Template(yaml.SafeLoader):
    """CloudFormation's short forms: `!Sub x` reads as {"Sub": "x"}."""


def _short_form(loader, suffix, node):
    construct = {
        yaml.ScalarNode: loader.construct_scalar,
        yaml.SequenceNode: loader.construct_sequence,
        yaml.MappingNode: loader.construct_mapping,
    }[type(node)]
    return {suffix: construct(node, *([] if isinstance(node, yaml.ScalarNode) else [True]))}


Template.add_multi_constructor("!", _short_form)
STACK_YML = yaml.load(STACK.read_text(), Template)
RESOURCES, PARAMETERS = STACK_YML["Resources"], STACK_YML["Parameters"]
POOL_YML = yaml.load(POOL.read_text(), Template)


def of_type(kind, resources=RESOURCES):
    return {name: one["Properties"] for name, one in resources.items() if one["Type"] == kind}


def policy(name):
    return json.loads((CHALICE / f"policy-{name}.json").read_text())["Statement"]


def managed(name):
    return RESOURCES[name]["Properties"]["PolicyDocument"]["Statement"]


def listed(value):
    return value if isinstance(value, list) else [value]


def actions(statements):
    statements = list(statements)
    assert {statement["Effect"] for statement in statements} == {"Allow"}
    return {action for statement in statements for action in listed(statement["Action"])}


def test_cfn_lint_has_nothing_to_say():
    lint = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run((lint, STACK, POOL), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


# --- files and records ----------------------------------------------------------------------------


def test_every_bucket_is_encrypted_closed_to_the_public_and_reached_by_tls_alone():
    for name, bucket in of_type("AWS::S3::Bucket").items():
        assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
        assert len(bucket["PublicAccessBlockConfiguration"]) == 4
        assert bucket["BucketEncryption"]
        policies = [one for one in of_type("AWS::S3::BucketPolicy").values() if one["Bucket"] == {"Ref": name}]
        denied = policies[0]["PolicyDocument"]["Statement"][0]
        assert (denied["Effect"], denied["Principal"], denied["Action"]) == ("Deny", "*", "s3:*")
        assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert PARAMETERS["PlainHttp"]["Default"] == "no"


def test_logs_artifacts_and_deliveries_expire_and_bundles_never_do():
    rules = RESOURCES["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    assert {rule.get("Prefix"): rule["ExpirationInDays"] for rule in rules if "ExpirationInDays" in rule} == {
        "logs/": 90,
        "artifacts/": 30,
        "deliveries/": 90,
    }


def test_deleting_the_stack_leaves_records_and_files():
    for name in ("Table", "Bucket"):
        assert (RESOURCES[name]["DeletionPolicy"], RESOURCES[name]["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_the_table_can_be_restored_forgets_what_expired_and_has_its_indexes():
    table = RESOURCES["Table"]["Properties"]
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    keys = {
        index["IndexName"]: [key["AttributeName"] for key in index["KeySchema"]]
        for index in table["GlobalSecondaryIndexes"]
    }
    assert keys == {
        "due": ["due_shard", "due_at"],
        "by_ref": ["ref_key", "id"],
        "by_commit": ["commit", "id"],
        "by_day": ["day", "id"],
    }


# --- queues ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("resources", [RESOURCES, POOL_YML["Resources"]], ids=["default", "a further pool"])
def test_every_queue_has_its_dead_letters_and_both_are_watched(resources):
    queues = of_type("AWS::SQS::Queue", resources)
    watched = {
        (alarm["MetricName"], alarm["Dimensions"][0]["Value"]["GetAtt"].partition(".")[0])
        for alarm in of_type("AWS::CloudWatch::Alarm", resources).values()
        if alarm["Namespace"] == "AWS/SQS"
    }
    working = {name: queue for name, queue in queues.items() if "RedrivePolicy" in queue}
    dead = {queue["RedrivePolicy"]["deadLetterTargetArn"]["GetAtt"].partition(".")[0] for queue in working.values()}
    assert working
    assert set(queues) == set(working) | dead
    assert {("ApproximateNumberOfMessagesVisible", name) for name in dead} <= watched
    assert {("ApproximateNumberOfMessagesVisible", name) for name in working} <= watched


@pytest.mark.parametrize("resources", [RESOURCES, POOL_YML["Resources"]], ids=["default", "a further pool"])
def test_a_run_that_takes_its_eleven_hours_rings_no_alarm_and_a_queue_without_a_runner_does(resources):
    alarm = resources["WaitingAlarm"]["Properties"]
    # The message of a run that goes on is in flight, not visible, but it does grow old.
    assert alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
    assert (alarm["Statistic"], alarm["Threshold"]) == ("Minimum", 0), "not once in all that time was the queue empty"
    assert alarm["Period"] * alarm["EvaluationPeriods"] == 2 * 3600


def test_a_message_is_kept_as_long_as_sqs_can_and_given_up_only_after_fifty_tries():
    for queue in of_type("AWS::SQS::Queue").values():
        assert queue["MessageRetentionPeriod"] == 14 * 24 * 3600
        assert queue["SqsManagedSseEnabled"] is True
    assert RESOURCES["DefaultQueue"]["Properties"]["RedrivePolicy"]["maxReceiveCount"] == 50


def test_a_further_pool_is_what_the_default_one_is():
    def as_default(value):
        """What pool.yml says, with the words of stack.yml."""
        text = json.dumps(value).replace("${Pool}", "default")
        for name in ("Queue.", "DeadQueue."):
            text = text.replace(f'"{name}', f'"Default{name}')
        return json.loads(text)

    of_default = {"Queue": "DefaultQueue", "DeadQueue": "DefaultDeadQueue"}
    for name in ("Queue", "DeadQueue", "UnburiedAlarm", "WaitingAlarm"):
        mine, his = (
            dict(one["Properties"]) for one in (POOL_YML["Resources"][name], RESOURCES[of_default.get(name, name)])
        )
        mine.pop("AlarmDescription", None), his.pop("AlarmDescription", None)
        assert as_default(mine) == his
    (mine,) = POOL_YML["Resources"]["RunnerPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    (his,) = (statement for statement in managed("RunnerPolicy") if statement["Sid"] == "Queue")
    assert as_default(mine) == his


def test_the_names_of_pools_are_those_of_ci_yml_but_for_those_that_would_be_anothers():
    pattern = re.compile(POOL_YML["Parameters"]["Pool"]["AllowedPattern"])
    assert all(pattern.fullmatch(name) for name in ("arm", "x86-large", "default-2", "dead", "a-dead-end"))
    assert not any(pattern.fullmatch(name) for name in ("default", "arm-dead", "Arm", "", "-arm", "a" * 41))


def test_an_open_letter_alarms_by_the_metric_that_the_ticker_writes():
    alarm = RESOURCES["DeadLettersAlarm"]["Properties"]
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Threshold"]) == ("Tau", "DeadLetters", 0)
    assert alarm["Dimensions"] == [{"Name": "service", "Value": "ticker"}, {"Name": "stage", "Value": {"Ref": "Stage"}}]
    # Silence means that nobody counted, not that there are none.
    assert alarm["TreatMissingData"] == "ignore"


# --- rights ---------------------------------------------------------------------------------------


def test_what_listens_to_the_internet_can_record_wake_and_read_its_own_secrets_and_nothing_else():
    assert actions(policy("intake")) == {
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "s3:PutObject",
        "sqs:GetQueueUrl",
        "sqs:SendMessage",
        "ssm:GetParameter",
    }


def test_what_listens_to_the_internet_writes_deliveries_only_and_reads_webhook_secrets_only():
    by_sid = {statement["Sid"]: statement for statement in policy("intake")}
    assert by_sid["LargeDeliveries"]["Resource"].endswith("/deliveries/*")
    assert by_sid["WebhookSecrets"]["Resource"].endswith("/secrets/hook*")
    queries = [statement for statement in policy("intake") if "dynamodb:Query" in str(statement["Action"])]
    assert [statement["Resource"][-len("/index/by_ref") :] for statement in queries] == ["/index/by_ref"]


def test_every_webhook_secret_of_ci_yml_has_a_name_that_the_intake_may_read():
    forges = yaml.safe_load((ROOT / "chalicelib" / "ci.yml").read_text())["forges"]
    names = [name for forge in forges.values() for name in forge["webhook"]]
    assert names
    assert [name for name in names if not name.startswith("hook")] == []


def test_what_asks_forges_reads_their_tokens_and_no_other_secret_and_neither_deploys_nor_mails():
    by_sid = {statement["Sid"]: statement for statement in policy("reconciler")}
    assert by_sid["ForgeTokens"]["Resource"].endswith("/secrets/token-*")
    assert actions(policy("reconciler")) == {
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "sqs:GetQueueUrl",
        "sqs:SendMessage",
        "ssm:GetParameter",
    }


def test_every_forge_token_of_ci_yml_has_a_name_that_the_reconciler_may_read_and_the_intake_may_not():
    forges = yaml.safe_load((ROOT / "chalicelib" / "ci.yml").read_text())["forges"]
    names = [forge["token"] for forge in forges.values() if "token" in forge]
    assert names
    assert [name for name in names if not name.startswith("token-")] == []


@pytest.mark.parametrize("name", ["intake", "ticker", "reconciler"])
def test_no_function_may_do_everything_delete_anything_or_change_rights(name):
    forbidden = ("[*]", "*:[*]", "iam:*", "*:Delete*", "*:Terminate*", "dynamodb:BatchWrite*", "dynamodb:Scan")
    granted = actions(statement for statement in policy(name) if statement["Sid"] != "BuryDeadLetters")
    assert [action for action in granted if any(fnmatchcase(action, one) for one in forbidden)] == []


def test_only_the_ticker_reads_queues_and_only_those_of_dead_letters():
    reading = [statement for statement in policy("ticker") if "sqs:ReceiveMessage" in listed(statement["Action"])]
    assert [(one["Action"], one["Resource"]) for one in reading] == [
        (["sqs:ReceiveMessage", "sqs:DeleteMessage"], "arn:aws:sqs:*:*:tau-*-dead")
    ]
    assert {"sqs:ReceiveMessage", "sqs:DeleteMessage"}.isdisjoint(actions(policy("intake")))


def test_a_runner_wakes_every_pool_and_reads_its_own_alone():
    by_sid = {statement["Sid"]: statement for statement in managed("RunnerPolicy")}
    assert sorted(by_sid["WakeRunners"]["Action"]) == ["sqs:GetQueueUrl", "sqs:SendMessage"]
    assert by_sid["WakeRunners"]["Resource"]["Sub"].endswith(":tau-${Stage}-*")
    assert "sqs:ReceiveMessage" in by_sid["Queue"]["Action"]
    assert by_sid["Queue"]["Resource"] == {"GetAtt": "DefaultQueue.Arn"}


def test_only_looking_and_mailing_is_allowed_on_everything():
    for statements in (
        *map(policy, ("intake", "ticker", "reconciler")),
        managed("RunnerPolicy"),
        managed("DeployPolicy"),
    ):
        for statement in statements:
            if "*" in listed(statement["Resource"]):
                everywhere = {action for action in listed(statement["Action"]) if ":Describe" not in action}
                looking = {"ses:GetAccount", "ses:GetEmailIdentity"}
                assert everywhere <= {"ses:SendEmail", "ses:SendRawEmail", *looking}


def test_the_ticker_deploys_with_the_rights_that_the_runner_deploys_with_and_makes_no_versions_and_reads_no_logs():
    deploying = {statement["Sid"]: sorted(listed(statement["Action"])) for statement in managed("DeployPolicy")}
    ticking = {statement["Sid"]: sorted(listed(statement["Action"])) for statement in policy("ticker")}
    deploying["Versions"].remove("elasticbeanstalk:CreateApplicationVersion")
    assert deploying.pop("Logs") == [
        "elasticbeanstalk:RequestEnvironmentInfo",
        "elasticbeanstalk:RetrieveEnvironmentInfo",
    ]
    assert {sid: ticking.get(sid) for sid in deploying} == deploying


@pytest.mark.parametrize("statements", [policy("ticker"), managed("DeployPolicy")], ids=["ticker", "runner"])
def test_whoever_verifies_a_version_may_ask_its_instances(statements):
    (looking,) = [one for one in statements if one["Sid"] == "Look"]
    assert (looking["Effect"], looking["Resource"]) == ("Allow", "*")
    assert any(fnmatchcase("elasticbeanstalk:DescribeInstancesHealth", action) for action in listed(looking["Action"]))


def test_the_runner_deletes_messages_and_nothing_else():
    granted = actions(managed("RunnerPolicy") + managed("DeployPolicy"))
    assert {action for action in granted if "Delete" in action or "Terminate" in action} == {"sqs:DeleteMessage"}
    assert {"ses:SendEmail", "ses:SendRawEmail", "ssm:GetParameter", "sqs:ChangeMessageVisibility"} <= granted


def test_versions_are_removed_by_a_right_that_nobody_has_who_was_not_given_it():
    assert actions(managed("PrunePolicy")) == {"elasticbeanstalk:DeleteApplicationVersion", "s3:DeleteObject"}
    (bundles,) = [one["Resource"] for one in managed("PrunePolicy") if one["Action"] == "s3:DeleteObject"]
    assert bundles == {"Sub": "${Bucket.Arn}/bundles/*.zip"}
    assert RESOURCES["RunnerRole"]["Properties"]["ManagedPolicyArns"] == [
        {"Ref": "RunnerPolicy"},
        {"Ref": "DeployPolicy"},
    ]


# --- the functions' configuration -----------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_tells_its_functions_the_names_that_the_stack_gives(stage):
    environment = CONFIG["environment_variables"] | CONFIG["stages"][stage]["environment_variables"]
    settings = Settings.from_env(environment)
    assert settings.stage == stage
    for name, given in (
        (RESOURCES["Table"]["Properties"]["TableName"], settings.table),
        (RESOURCES["Bucket"]["Properties"]["BucketName"]["If"][2], settings.bucket),
        (RESOURCES["DefaultQueue"]["Properties"]["QueueName"], f"{settings.queue_prefix}-default"),
        ({"Sub": "tau-${Stage}"}, settings.system),
    ):
        assert name["Sub"].replace("${Stage}", stage) == given


def test_each_function_has_a_policy_of_its_own_that_chalice_did_not_guess():
    assert CONFIG["autogen_policy"] is False
    files = [function["iam_policy_file"] for function in CONFIG["lambda_functions"].values()]
    assert sorted(files) == sorted(path.name for path in CHALICE.glob("policy-*.json"))


def test_the_functions_log_groups_bear_the_names_that_chalice_gives_its_functions():
    groups = {group["LogGroupName"]["Sub"] for group in of_type("AWS::Logs::LogGroup").values()}
    app = CONFIG["app_name"]
    functions = {"" if name == "api_handler" else f"-{name}" for name in CONFIG["lambda_functions"]}
    assert groups == {f"/aws/lambda/{app}-${{Stage}}{name}" for name in functions}
