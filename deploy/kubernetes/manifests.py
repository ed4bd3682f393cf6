"""Checks built manifests: their schemas, and that what they say of each other is true. Called by ./check."""

import base64
import os.path
import re
import sys
import tomllib

import kubernetes_validate
import yaml
from cloudcoil.models.prometheus_operator import v1 as operator

VERSIONS = ["1.29", "1.37"]


def validate(manifest):
    """Checks one object against its schema; what the schema does not know is an error."""
    if manifest["apiVersion"] == "monitoring.coreos.com/v1":
        getattr(operator, manifest["kind"]).model_validate(manifest, extra="forbid")
        return
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)


def check_selectors(objects, pod):
    """Whatever selects pods selects these."""
    selectors = {}
    for (kind, name), o in objects.items():
        spec = o.get("spec", {})
        match kind:
            case "Service":
                selectors[kind, name] = spec["selector"]
            case "NetworkPolicy":
                selectors[kind, name] = spec["podSelector"]["matchLabels"]
            case "Deployment" | "PodDisruptionBudget" | "PodMonitor":
                selectors[kind, name] = spec["selector"]["matchLabels"]
    for n, constraint in enumerate(pod["spec"]["topologySpreadConstraints"]):
        selectors["spread", n] = constraint["labelSelector"]["matchLabels"]
    for what, labels in selectors.items():
        assert labels and labels.items() <= pod["metadata"]["labels"].items(), f"{what} selects other pods"
    return len(selectors)


def check_ports(objects, pod):
    """Each port has one name, and each name that is used is one of them."""
    containers = pod["spec"]["containers"]
    ports = [port["name"] for container in containers for port in container["ports"]]
    used = [c[f"{probe}Probe"]["httpGet"]["port"] for c in containers
            for probe in ("startup", "readiness", "liveness") if f"{probe}Probe" in c]
    for (kind, _), o in objects.items():
        match kind:
            case "Service":
                used += [port["targetPort"] for port in o["spec"]["ports"]]
            case "NetworkPolicy":
                used += [port["port"] for rule in o["spec"]["ingress"] for port in rule["ports"]]
            case "PodMonitor":
                used += [endpoint["port"] for endpoint in o["spec"]["podMetricsEndpoints"]]
    assert len(set(ports)) == len(ports) and set(used) == set(ports), f"{used} are not {ports}"
    return len(used)


def check_volumes(objects, pod):
    """Each volume is mounted, and its ConfigMap or Secret is there."""
    mounts = [mount for container in pod["spec"]["containers"] for mount in container.get("volumeMounts", [])]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert {mount["name"] for mount in mounts} == volumes.keys(), "mounts and volumes differ"
    assert not any("subPath" in mount for mount in mounts), "a subPath never changes"
    for name, volume in volumes.items():
        if "secret" in volume:
            secret = objects.get(("Secret", volume["secret"]["secretName"]))
            assert secret, f"there is no secret for the volume {name}"
    return len(mounts)


def check_lists(objects, pod, variables):
    """The lists of all shops are files of one ConfigMap, where the proxy looks."""
    generator, = yaml.safe_load(open("kustomization.yaml"))["configMapGenerator"]
    lists = dict(file.split("=") for file in generator["files"])
    volume, = [volume for volume in pod["spec"]["volumes"] if "configMap" in volume]
    assert volume["configMap"] == {"name": generator["name"]}, "all of the ConfigMap is mounted, whatever shops it has"
    container = pod["spec"]["containers"][0]
    mounted, = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == volume["name"]]
    assert variables["CATALOG_PROXY_SHOPS"] == mounted, "the shops are somewhere else"
    directory, default = variables["CATALOG_PROXY_WHITELIST"].rsplit("/", 1)
    assert directory == mounted and default in lists, "the list of the shop at / is not there"
    assert not default.endswith(".toml"), "the shop at / would be one under its file's name as well"
    for shop in lists.keys() - {default}:
        assert re.fullmatch(r"[a-z0-9-]{1,16}\.toml", shop), f"{shop} is no shop"
    for file in lists.values():
        assert "extensions" in tomllib.load(open(file, "rb")), f"{file} is no list"
    config_map = objects.get(("ConfigMap", generator["name"]))
    if config_map:
        built = {name: open(file).read() for name, file in lists.items()}
        assert config_map["data"] == built, "the ConfigMap has other lists"
    return len(lists)


def check_dns(policy):
    """SECURITY and use: DNS works wherever the cluster has it, and nothing else leaves to everywhere."""
    everywhere = [rule["ports"] for rule in policy["spec"]["egress"] if "to" not in rule]
    ports = {(port["port"], port["protocol"]) for ports in everywhere for port in ports}
    wanted = {(number, protocol) for number in (53, 5353) for protocol in ("UDP", "TCP")}
    assert ports == wanted, f"egress to everywhere: {ports}, not {wanted}"


def check_page(objects, pod, variables):
    """The page's Ingress, its sign-in and the proxy agree on the host and on the field that names who signed in."""
    ingress = objects["Ingress", "catalog-proxy-page"]
    rule, = ingress["spec"]["rules"]
    host = rule["host"]
    assert variables["CATALOG_PROXY_ADMIN_HOST"] == host, "the admin port refuses the Ingress's host"
    assert [tls["hosts"] for tls in ingress["spec"]["tls"]] == [[host]], "TLS for another host"
    path, = rule["http"]["paths"]
    assert path["pathType"] in ("Prefix", "Exact"), "the schema takes any word"
    backend = path["backend"]["service"]
    service = objects["Service", backend["name"]]
    port, = service["spec"]["ports"]
    assert port["name"] == backend["port"]["name"], "the Ingress leads to a port that the service has not"
    field, trusted = (variables[f"CATALOG_PROXY_ADMIN_{name}"] for name in ("USER_HEADER", "TRUSTED_PROXY"))
    policy = objects["NetworkPolicy", "catalog-proxy-page"]
    opened = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    assert all(rule.get("from") for rule in policy["spec"]["ingress"]), "the page's port is open to all"
    assert opened == {port["targetPort"]}, f"the policy opens {opened}"
    tokens = objects["Secret", "catalog-proxy-tokens"]
    file = variables["CATALOG_PROXY_ADMIN_TOKENS"].rsplit("/", 1)[1]
    assert tomllib.loads(base64.b64decode(tokens["data"][file]).decode())["editors"], "nobody may edit"
    sidecar = [container for container in pod["spec"]["containers"] if container["name"] == "oauth2-proxy"]
    if not sidecar:
        # SECURITY: the field that is believed is the one that the controller overwrites.
        annotations = ingress["metadata"]["annotations"]
        told = annotations["nginx.ingress.kubernetes.io/auth-response-headers"].split(",")
        assert field in told, f"a browser's own {field} gets through"
        return
    # SECURITY: only what comes over the pod's loopback is believed, and the network does not get there.
    assert trusted == "127.0.0.1/32", f"{trusted} may say who signed in"
    arguments = dict(argument[2:].split("=", 1) for argument in sidecar[0]["args"])
    assert field in ("X-Forwarded-User", "X-Forwarded-Email"), f"oauth2-proxy does not overwrite {field}"
    assert arguments["skip-auth-strip-headers"] == arguments["pass-user-headers"] == "true"
    assert arguments["pass-basic-auth"] == "false", "its Authorization would be taken for a token"
    assert arguments["redirect-url"].startswith(f"https://{host}/"), "back from the sign-in to another host"
    assert arguments["upstream"].rstrip("/").endswith(variables["CATALOG_PROXY_ADMIN_LISTEN"].rsplit(":", 1)[1])
    own, = sidecar[0]["ports"]
    assert own["name"] == port["targetPort"], "the Ingress passes the sign-in by"


def check(path):
    found = [o for o in yaml.safe_load_all(open(path)) if o]
    for o in found:
        validate(o)
    objects = {(o["kind"], o["metadata"]["name"]): o for o in found}
    assert len(objects) == len(found), "two objects of one kind and name"
    variant, _ = os.path.splitext(os.path.basename(path))
    deployment = objects.get(("Deployment", "catalog-proxy"))
    if not deployment:
        return f"{variant}: {', '.join(o['kind'] for o in found)}: good"
    assert len({o["metadata"].get("namespace") for o in found if o["kind"] != "Namespace"}) == 1, "two namespaces"
    pod = deployment["spec"]["template"]
    variables = {variable["name"]: variable["value"] for variable in pod["spec"]["containers"][0]["env"]}
    counts = [f"{check_selectors(objects, pod)} selectors", f"{check_ports(objects, pod)} uses of ports",
              f"{check_volumes(objects, pod)} mounts", f"{check_lists(objects, pod, variables)} lists"]
    check_dns(objects["NetworkPolicy", "catalog-proxy"])
    for container in pod["spec"]["containers"]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"], container["name"]
    monitor = objects.get(("PodMonitor", "catalog-proxy"))
    if monitor:
        job = pod["metadata"]["labels"][monitor["spec"]["jobLabel"]]
        assert f'job="{job}"' in open("../prometheus/alerts.yml").read(), f"no alert looks at the job {job}"
    if ("Ingress", "catalog-proxy-page") in objects:
        check_page(objects, pod, variables)
    return f"{variant}: {len(found)} objects good for {', '.join(VERSIONS)}; {', '.join(counts)}: they fit"


for path in sys.argv[1:]:
    try:
        print(check(path))
    except Exception as problem:
        sys.exit(f"{path}: {problem}")
