//! The manifests for Kubernetes, KServe and KEDA. Kubernetes' own kinds are validated against its published schemas if
//! `kubernetes-validate` is installed; for the others, the used fields are listed here, from KServe 0.21 and KEDA 2.

use super::files::assert_knows;
use super::http;
use super::server::Server;
use super::{deploy, program, yaml};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kustomization {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    namespace: String,
    #[serde(default, rename = "labels")]
    _labels: Vec<Value>,
    resources: Vec<PathBuf>,
    #[serde(rename = "images")]
    _images: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Resource<S> {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: S,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RuntimeSpec {
    supported_model_formats: Vec<ModelFormat>,
    protocol_versions: Vec<String>,
    multi_model: bool,
    annotations: BTreeMap<String, String>,
    containers: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ModelFormat {
    name: String,
    version: String,
    #[serde(default)]
    auto_select: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceSpec {
    predictor: Predictor,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Predictor {
    min_replicas: u32,
    max_replicas: u32,
    timeout: u64,
    model: Model,
    auto_scaling: AutoScaling,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Model {
    model_format: ModelFormat,
    protocol_version: String,
    runtime: String,
    storage_uri: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AutoScaling {
    metrics: Vec<ScalingMetric>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScalingMetric {
    r#type: String,
    external: ExternalMetric,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExternalMetric {
    metric: PrometheusMetric,
    target: MetricTarget,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PrometheusMetric {
    backend: String,
    server_address: String,
    query: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct MetricTarget {
    r#type: String,
    average_value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ScaledSpec {
    scale_target_ref: BTreeMap<String, String>,
    min_replica_count: u32,
    max_replica_count: u32,
    #[serde(rename = "pollingInterval")]
    _polling_interval: u32,
    #[serde(rename = "cooldownPeriod")]
    _cooldown_period: u32,
    fallback: Fallback,
    advanced: Advanced,
    triggers: Vec<Trigger>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Fallback {
    #[serde(rename = "failureThreshold")]
    _failure_threshold: u32,
    replicas: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Advanced {
    horizontal_pod_autoscaler_config: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trigger {
    r#type: String,
    metadata: TriggerMetadata,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct TriggerMetadata {
    server_address: String,
    query: String,
    threshold: String,
}

#[test]
fn kustomizations_name_files_that_are_there_and_all_of_them() {
    for folder in ["base", "kserve", "job"].map(folder) {
        let kustomization: Kustomization = yaml(folder.join("kustomization.yaml"));
        assert_eq!(kustomization.kind, "Kustomization");
        assert_eq!(kustomization.api_version, "kustomize.config.k8s.io/v1beta1");
        assert_eq!(kustomization.namespace, "grice");
        let mut there: Vec<PathBuf> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| PathBuf::from(entry.unwrap().file_name()))
            .filter(|name| !name.ends_with("kustomization.yaml"))
            .collect();
        there.sort();
        let mut named = kustomization.resources;
        named.sort();
        assert_eq!(named, there, "{}", folder.display());
    }
}

#[test]
fn a_deployment_of_servers_that_drain_and_are_nobody() {
    let deployment: Value = yaml(folder("base").join("deployment.yaml"));
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    let container = &pod["containers"][0];
    check_container(container);
    assert_eq!(container["startupProbe"]["httpGet"]["path"], "/v2/health/ready");
    let millis = |flag: &str| argument_after(container, flag).parse::<u64>().unwrap();
    let drains = millis("--drain-delay-ms") + millis("--drain-max-ms");
    let patience = pod["terminationGracePeriodSeconds"].as_u64().unwrap() * 1000;
    assert!(patience > drains, "killed after {patience} ms, while it may drain for {drains}");
    // The same labels select the pods everywhere.
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
    let service: Value = yaml(folder("base").join("service.yaml"));
    assert_eq!(&service["spec"]["selector"], labels);
    assert_eq!(service["spec"]["ports"][0]["targetPort"], container["ports"][0]["name"]);
    let disruption: Value = yaml(folder("base").join("disruption.yaml"));
    assert_eq!(&disruption["spec"]["selector"]["matchLabels"], labels);
    let network: Value = yaml(folder("base").join("network.yaml"));
    assert_eq!(&network["spec"]["podSelector"]["matchLabels"], labels);
    assert_eq!(network["spec"]["ingress"][0]["ports"][0]["port"], container["ports"][0]["containerPort"]);
}

#[test]
fn keda_scales_the_deployment_by_what_waits() {
    let scaled: Resource<ScaledSpec> = yaml(folder("base").join("scaling.yaml"));
    assert_eq!((scaled.api_version.as_str(), scaled.kind.as_str()), ("keda.sh/v1alpha1", "ScaledObject"));
    let deployment: Value = yaml(folder("base").join("deployment.yaml"));
    let spec = scaled.spec;
    assert_eq!(deployment["metadata"]["name"], spec.scale_target_ref["name"]);
    // Only one of them may set the number.
    assert!(deployment["spec"]["replicas"].is_null());
    assert!(spec.min_replica_count >= 2 && spec.min_replica_count < spec.max_replica_count);
    assert!((spec.min_replica_count..=spec.max_replica_count).contains(&spec.fallback.replicas));
    assert!(spec.advanced.horizontal_pod_autoscaler_config["behavior"]["scaleDown"].is_object());
    let [trigger] = &spec.triggers[..] else { panic!("one trigger") };
    assert_eq!(trigger.r#type, "prometheus");
    check_query(&trigger.metadata.server_address, &trigger.metadata.query, &trigger.metadata.threshold);
}

#[test]
fn kserve_runs_bundles_and_scales_by_what_waits() {
    let runtime: Resource<RuntimeSpec> = yaml(folder("kserve").join("runtime.yaml"));
    assert_eq!((runtime.api_version.as_str(), runtime.kind.as_str()), ("serving.kserve.io/v1alpha1", "ServingRuntime"));
    let service: Resource<ServiceSpec> = yaml(folder("kserve").join("inferenceservice.yaml"));
    assert_eq!(
        (service.api_version.as_str(), service.kind.as_str()),
        ("serving.kserve.io/v1beta1", "InferenceService")
    );
    let predictor = service.spec.predictor;
    let model = &predictor.model;
    assert_eq!(model.runtime, runtime.metadata.name);
    assert!(runtime.spec.protocol_versions.contains(&model.protocol_version));
    let [format] = &runtime.spec.supported_model_formats[..] else { panic!("one format") };
    assert!(format.auto_select && !runtime.spec.multi_model);
    assert_eq!((&format.name, &format.version), (&model.model_format.name, &model.model_format.version));
    assert!(model.storage_uri.contains("://"));
    let [container] = &runtime.spec.containers[..] else { panic!("one container") };
    // KServe mounts the bundle into the container with this name.
    assert_eq!(container["name"], "kserve-container");
    assert!(argument_after(container, "--bundle").ends_with("=/mnt/models"));
    check_container(container);
    let port = container["ports"][0]["containerPort"].to_string();
    assert_eq!(runtime.spec.annotations["prometheus.kserve.io/port"], port);
    assert_eq!(service.metadata.annotations["serving.kserve.io/autoscalerClass"], "keda");
    assert!(predictor.min_replicas >= 2 && predictor.min_replicas < predictor.max_replicas);
    assert!(predictor.timeout > 60, "longer than the longest deadline");
    let [metric] = &predictor.auto_scaling.metrics[..] else { panic!("one metric") };
    assert_eq!((metric.r#type.as_str(), metric.external.metric.backend.as_str()), ("External", "prometheus"));
    assert_eq!(metric.external.target.r#type, "AverageValue");
    let PrometheusMetric { server_address, query, .. } = &metric.external.metric;
    check_query(server_address, query, &metric.external.target.average_value);
    assert!(query.contains(&format!("model=\"{}\"", service.metadata.name)));
}

#[test]
fn probes_ask_for_what_a_server_answers() {
    let server = Server::start(&[]);
    let deployment: Value = yaml(folder("base").join("deployment.yaml"));
    let runtime: Value = yaml(folder("kserve").join("runtime.yaml"));
    let containers = [&deployment["spec"]["template"]["spec"]["containers"][0], &runtime["spec"]["containers"][0]];
    for probe in containers
        .iter()
        .flat_map(|container| ["startupProbe", "readinessProbe", "livenessProbe"].map(|p| &container[p]))
    {
        if let Some(path) = probe["httpGet"]["path"].as_str() {
            assert_eq!(http::get(server.address, path).unwrap().status, 200, "{path}");
        }
    }
}

#[test]
fn kinds_of_kubernetes_follow_its_schemas() {
    let Some(validate) = program("kubernetes-validate") else { return };
    // A container of KServe's is one of Kubernetes'.
    let runtime: Value = yaml(folder("kserve").join("runtime.yaml"));
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "grice" },
        "spec": { "containers": runtime["spec"]["containers"] },
    });
    let inside = tempfile::tempdir().unwrap();
    let wrapped = inside.path().join("pod.yaml");
    std::fs::write(&wrapped, pod.to_string()).unwrap();
    let kustomization: Kustomization = yaml(folder("base").join("kustomization.yaml"));
    let files = kustomization.resources.iter().filter(|name| !name.ends_with("scaling.yaml"));
    for file in files.map(|name| folder("base").join(name)).chain([folder("job").join("job.yaml"), wrapped]) {
        let output = Command::new(&validate).arg("--strict").arg(&file).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.contains("passed"), "{}: {told}", file.display());
    }
}

fn folder(name: &str) -> PathBuf {
    deploy().join("kubernetes").join(name)
}

fn check_container(container: &Value) {
    let arguments: Vec<String> = serde_json::from_value(container["args"].clone()).unwrap();
    assert_knows(&arguments);
    let port = container["ports"][0]["containerPort"].to_string();
    assert_eq!(argument_after(container, "--listen"), format!("0.0.0.0:{port}"));
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/v2/health/ready");
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/v2/health/live");
    assert!(container["resources"]["limits"]["memory"].is_string());
}

fn argument_after<'a>(container: &'a Value, flag: &str) -> &'a str {
    let arguments = container["args"].as_array().unwrap();
    let place = arguments.iter().position(|argument| argument == flag).unwrap_or_else(|| panic!("no {flag}"));
    arguments[place + 1].as_str().unwrap()
}

fn check_query(server: &str, query: &str, each: &str) {
    assert!(server.starts_with("http://"));
    // One number, whatever the number of servers.
    assert!(query.starts_with("sum(avg_over_time(grice_queue_size{") && query.ends_with("s]))"), "{query}");
    assert!(each.parse::<f64>().is_ok_and(|each| each > 0.0));
}
