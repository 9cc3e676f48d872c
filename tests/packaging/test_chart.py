"""The Helm chart: linted and rendered by Helm, and its manifests held against the schemas of Kubernetes."""

import ast
import base64
import re
import tomllib
from pathlib import Path

import helm_python
import kubernetes_validate
import pytest
import yaml

from node.configuration.settings import SETTINGS
from protocol import PacketType, encode_request

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "gearmesh"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
KUBERNETES = ("1.27", "1.32")

VARIANTS = {
    "defaults": {},
    "one node": {"replicaCount": 1},
    "five nodes that were founded as three": {"replicaCount": 5, "cluster": {"name": "jobs", "expect": 3}},
    "without volumes": {"persistence": {"enabled": False}},
    "volumes": {
        "persistence": {
            "size": "10Gi",
            "storageClass": "fast",
            "accessModes": ["ReadWriteOncePod"],
            "annotations": {"a/b": "c"},
            "whenScaled": "Delete",
        }
    },
    "secrets of one's own": {
        "secret": {"existingSecret": "mine", "key": "token"},
        "meshTls": {"existingSecret": "mine-tls"},
        "imagePullSecrets": [{"name": "registry"}],
    },
    "a secret given": {"secret": {"value": "sixteen letters!"}},
    "behind a load balancer": {
        "service": {
            "type": "LoadBalancer",
            "port": 14730,
            "nodePort": 30730,
            "loadBalancerSourceRanges": ["192.0.2.0/24"],
            "annotations": {"a/b": "c"},
        }
    },
    "placed": {
        "nodeSelector": {"disk": "nvme"},
        "tolerations": [{"key": "jobs", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "topologySpread": [{"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "maxSkew": 2}],
        "podAnnotations": {"a/b": "c"},
        "podLabels": {"team": "jobs"},
    },
    "unspread and unbudgeted": {"topologySpread": [], "podDisruptionBudget": {"enabled": False}},
    "watched and fenced": {
        "networkPolicy": {
            "enabled": True,
            "clients": [{"podSelector": {"matchLabels": {"uses": "jobs"}}}],
            "monitoring": [{"namespaceSelector": {}}],
        },
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    },
    "set": {"drainTimeout": 0.5, "settings": {"job_retries": 5, "log_level": "debug", "exceptions": True}},
}


def rendered(values: dict, *, name: str = "demo") -> dict[str, str]:
    with helm_python.Chart.load(str(CHART)) as chart:
        return chart.render(values, name=name, namespace="somewhere")


def manifests(values: dict, *, name: str = "demo") -> list[dict]:
    return [
        document
        for path, text in rendered(values, name=name).items()
        if path.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document
    ]


def of_kind(kind: str, values: dict | None = None, *, name: str = "demo") -> list[dict]:
    return [document for document in manifests(values or {}, name=name) if document["kind"] == kind]


def node_of(values: dict | None = None) -> dict:
    (stateful_set,) = of_kind("StatefulSet", values)
    return stateful_set["spec"]["template"]["spec"]


def environment_of(values: dict | None = None) -> dict[str, str]:
    (container,) = node_of(values)["containers"]
    return {variable["name"]: variable.get("value", "(a field)") for variable in container["env"]}


class TestChart:
    @pytest.mark.parametrize("version", KUBERNETES)
    def test_helm_finds_nothing_to_complain_of(self, version):
        assert helm_python.lint(str(CHART), strict=True, kube_version=f"v{version}.0")["errors"] == []

    @pytest.mark.parametrize("version", KUBERNETES)
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_every_manifest_is_what_kubernetes_knows(self, variant, version):
        documents = [document for document in manifests(VARIANTS[variant]) if document["kind"] != "ServiceMonitor"]
        assert len(documents) >= 5
        for document in documents:
            kubernetes_validate.validate(document, version, strict=True)

    def test_kubernetes_would_refuse_what_it_does_not_know(self):
        (stateful_set,) = of_kind("StatefulSet")
        stateful_set["spec"]["template"]["spec"]["containers"][0]["livenessProb"] = {}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(stateful_set, "1.32", strict=True)

    def test_its_version_is_the_program_s(self):
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert chart["version"] == chart["appVersion"] == project["version"]

    def test_every_variable_is_a_setting(self):
        known = {setting.variable for setting in SETTINGS}
        assert set(environment_of(VARIANTS["secrets of one's own"])) <= known

    def test_two_releases_share_no_name(self):
        names = [
            {(document["kind"], document["metadata"]["name"]) for document in manifests({}, name=name)}
            for name in ("one", "two")
        ]
        assert not names[0] & names[1]

    def test_names_stay_short_enough_for_labels(self):
        for document in manifests({}, name="a" * 53):
            assert len(document["metadata"]["name"]) <= 52

    def test_the_readme_names_every_value_and_no_other(self):
        def leaves(values: dict, prefix: str = ""):
            for key, value in values.items():
                whole = f"{prefix}{key}" in ("resources.requests", "resources.limits") or key.endswith("ecurityContext")
                if isinstance(value, dict) and value and not whole:
                    yield from leaves(value, f"{prefix}{key}.")
                else:
                    yield f"{prefix}{key}"

        documented = re.findall(r"^\| `([A-Za-z.]+)` \|", (CHART / "README.md").read_text(), re.MULTILINE)
        assert documented == list(leaves(VALUES))


class TestNodes:
    def test_start_together_and_find_each_other_before_they_are_ready(self):
        (stateful_set,) = of_kind("StatefulSet")
        headless = next(service for service in of_kind("Service") if service["spec"].get("clusterIP") == "None")
        assert stateful_set["spec"]["podManagementPolicy"] == "Parallel"
        assert stateful_set["spec"]["serviceName"] == headless["metadata"]["name"]
        assert headless["spec"]["publishNotReadyAddresses"] is True
        name = f"{headless['metadata']['name']}.somewhere.svc.cluster.local"
        assert environment_of()["GEARMESH_DISCOVERY"] == f"dns:{name}"

    def test_expect_as_many_as_there_are_unless_told_otherwise(self):
        assert environment_of()["GEARMESH_EXPECT"] == "3"
        assert environment_of(VARIANTS["five nodes that were founded as three"])["GEARMESH_EXPECT"] == "3"
        assert environment_of({"replicaCount": 5})["GEARMESH_EXPECT"] == "5"

    def test_are_named_after_their_pods(self):
        (container,) = node_of()["containers"]
        assert container["env"][0] == {
            "name": "GEARMESH_NAME",
            "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
        }

    def test_are_alive_without_a_quorum_and_ready_only_with_one(self):
        (container,) = node_of()["containers"]
        paths = {probe: container[probe]["httpGet"]["path"] for probe in container if probe.endswith("Probe")}
        assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}

    @pytest.mark.parametrize("drain", [0, 0.5, 20, 3600])
    def test_are_given_longer_to_stop_than_their_jobs_are(self, drain):
        assert node_of({"drainTimeout": drain})["terminationGracePeriodSeconds"] >= drain + 20
        assert environment_of({"drainTimeout": drain})["GEARMESH_DRAIN_TIMEOUT"] == str(drain)

    def test_run_without_any_privilege(self):
        pod = node_of()
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }

    def test_write_only_where_a_volume_is(self):
        (container,) = node_of()["containers"]
        writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
        assert writable == ["/var/lib/gearmesh", "/tmp"]

    def test_every_mount_has_its_volume(self):
        for variant, values in VARIANTS.items():
            (stateful_set,) = of_kind("StatefulSet", values)
            pod = stateful_set["spec"]["template"]["spec"]
            volumes = [volume["name"] for volume in pod["volumes"]]
            volumes += [claim["metadata"]["name"] for claim in stateful_set["spec"].get("volumeClaimTemplates", ())]
            mounts = [mount["name"] for mount in pod["containers"][0]["volumeMounts"]]
            assert sorted(volumes) == sorted(mounts), variant

    def test_take_other_settings_by_their_names(self):
        given = environment_of(VARIANTS["set"])
        assert given["GEARMESH_JOB_RETRIES"] == "5"
        assert given["GEARMESH_EXCEPTIONS"] == "true"

    def test_every_selector_chooses_them_and_nothing_else_of_the_release(self):
        labels = next(iter(of_kind("StatefulSet")))["spec"]["template"]["metadata"]["labels"]
        test_pod = next(iter(of_kind("Pod")))["metadata"]["labels"]
        selectors = [service["spec"]["selector"] for service in of_kind("Service")]
        selectors += [budget["spec"]["selector"]["matchLabels"] for budget in of_kind("PodDisruptionBudget")]
        assert len(selectors) == 3
        for selector in selectors:
            assert selector.items() <= labels.items()
            assert not selector.items() <= test_pod.items()


class TestSecret:
    def test_a_random_one_is_made(self):
        made = [of_kind("Secret")[0]["data"]["secret"] for _ in range(2)]
        assert made[0] != made[1]
        assert len(base64.b64decode(made[0])) == 48

    def test_it_outlives_the_release_as_the_volumes_do(self):
        assert of_kind("Secret")[0]["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}

    def test_one_that_is_given_is_taken(self):
        (secret,) = of_kind("Secret", VARIANTS["a secret given"])
        assert base64.b64decode(secret["data"]["secret"]) == b"sixteen letters!"

    def test_one_that_exists_is_used_and_none_is_made(self):
        values = VARIANTS["secrets of one's own"]
        assert of_kind("Secret", values) == []
        assert environment_of(values)["GEARMESH_SECRET_FILE"] == "/etc/gearmesh/secret/token"
        assert {"name": "secret", "secret": {"secretName": "mine", "defaultMode": 0o440}} in node_of(values)["volumes"]

    def test_it_is_never_in_the_environment(self):
        assert "GEARMESH_SECRET" not in environment_of()


class TestOptions:
    def test_policies_let_only_nodes_reach_the_mesh(self):
        (policy,) = of_kind("NetworkPolicy", VARIANTS["watched and fenced"])
        by_port = {rule["ports"][0]["port"]: rule.get("from") for rule in policy["spec"]["ingress"]}
        nodes = policy["spec"]["podSelector"]
        assert by_port["mesh"] == [{"podSelector": nodes}]
        assert {"podSelector": {"matchLabels": {"uses": "jobs"}}} in by_port["gearman"]
        assert by_port["http"] == [{"namespaceSelector": {}}]

    def test_policies_without_peers_let_everybody_reach_gearman(self):
        (policy,) = of_kind("NetworkPolicy", {"networkPolicy": {"enabled": True}})
        assert [rule.get("from") is None for rule in policy["spec"]["ingress"]] == [False, True, True]

    def test_a_service_monitor_chooses_the_service_that_knows_every_node(self):
        (monitor,) = of_kind("ServiceMonitor", VARIANTS["watched and fenced"])
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        chosen = [service for service in of_kind("Service") if wanted <= service["metadata"]["labels"].items()]
        assert [service["spec"].get("clusterIP") for service in chosen] == ["None"]
        assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in chosen[0]["spec"]["ports"]}
        assert monitor["metadata"]["labels"]["release"] == "prometheus"

    def test_notes_warn_of_what_loses_jobs(self):
        def notes(values: dict) -> str:
            return next(text for path, text in rendered(values).items() if path.endswith("NOTES.txt"))

        assert "WARNING" not in notes({})
        assert "WARNING: persistence is off" in notes({"persistence": {"enabled": False}})
        assert "WARNING: 4 nodes bear the loss of no more nodes than 3 do" in notes({"replicaCount": 4})

    def test_the_test_hook_speaks_gearman(self):
        (pod,) = of_kind("Pod")
        assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
        script = ast.parse(pod["spec"]["containers"][0]["args"][0])
        sent = [node.value for node in ast.walk(script) if isinstance(node, ast.Constant)]
        assert bytes(encode_request(PacketType.ECHO_REQ, b"hello")) in sent


class TestSchema:
    @pytest.mark.parametrize(
        "values",
        [
            {"replicaCounts": 3},
            {"replicaCount": 0},
            {"replicaCount": 10},
            {"replicaCount": "3"},
            {"image": {"repo": "x"}},
            {"image": {"pullPolicy": "Sometimes"}},
            {"cluster": {"name": "two words"}},
            {"cluster": {"expect": -1}},
            {"secret": {"value": "short"}},
            {"secret": {"existingSecret": "Not A Name"}},
            {"drainTimeout": "20s"},
            {"settings": {"secret": "in the open"}},
            {"settings": {"name": "all the same"}},
            {"settings": {"LOG_LEVEL": "debug"}},
            {"service": {"type": "ExternalName"}},
            {"service": {"port": 0}},
            {"persistence": {"size": "two"}},
            {"persistence": {"accessModes": ["ReadWriteMany"]}},
            {"persistence": {"whenDeleted": "Keep"}},
            {"probes": {"liveness": {"httpGet": {}}}},
            {"podDisruptionBudget": {"maxUnavailable": 0}},
            {"podDisruptionBudget": {"maxUnavailable": "half"}},
            {"topologySpread": [{"topologyKey": "zone"}]},
            {"networkPolicy": {"clients": {}}},
            {"serviceMonitor": {"interval": 15}},
        ],
        ids=str,
    )
    def test_what_is_not_known_or_not_possible_is_refused(self, values):
        with pytest.raises(helm_python.HelmError, match="schema"):
            rendered(values)

    def test_a_setting_that_the_chart_makes_itself_is_refused_among_the_others(self):
        made = set(environment_of(VARIANTS["secrets of one's own"]))
        fields = [setting.field for setting in SETTINGS if setting.variable in made]
        assert len(fields) == len(made)
        for field in fields:
            with pytest.raises(helm_python.HelmError, match="schema"):
                rendered({"settings": {field: "x"}})
