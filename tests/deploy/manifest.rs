//! The manifests of `deploy/` as a test reads them: YAML as JSON values, and what the kubelet makes of a workload's container `cim`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use yaml_rust2::{Yaml, YamlLoader};

use crate::servers::kube::Right;

/// A file of the repository.
#[track_caller]
pub fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every document of a YAML file.
#[track_caller]
pub fn documents(path: &str) -> Vec<Value> {
    let documents = YamlLoader::load_from_str(&text(path));
    let documents = documents.unwrap_or_else(|error| panic!("{path}: {error}"));
    documents.iter().map(json_of).collect()
}

fn json_of(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::String(text) => text.as_str().into(),
        Yaml::Integer(number) => (*number).into(),
        Yaml::Boolean(on) => (*on).into(),
        Yaml::Real(text) => json!(text.parse::<f64>().unwrap()),
        Yaml::Null => Value::Null,
        Yaml::Array(items) => items.iter().map(json_of).collect(),
        Yaml::Hash(members) => members
            .iter()
            .map(|(name, value)| (name.as_str().expect("a name").to_owned(), json_of(value)))
            .collect(),
        Yaml::Alias(_) | Yaml::BadValue => panic!("{yaml:?}"),
    }
}

/// The members of a list, none when it is absent.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The one of `items` with this member.
#[track_caller]
pub fn with<'a>(items: &'a [Value], member: &str, value: &str) -> &'a Value {
    let found = items.iter().find(|item| item[member] == value);
    found.unwrap_or_else(|| panic!("nothing with {member} {value}"))
}

/// What the service account `account` may do in `namespace`, by the roles that `files` bind to it.
pub fn rights(files: &[&str], account: &str, namespace: &str) -> Vec<Right> {
    let objects: Vec<_> = files.iter().flat_map(|file| documents(file)).collect();
    let mut rights = Vec::new();
    for binding in &objects {
        let in_namespace = match binding["kind"].as_str() {
            Some("RoleBinding") => Some(namespace.to_owned()),
            Some("ClusterRoleBinding") => None,
            _ => continue,
        };
        let subject = with(list(&binding["subjects"]), "kind", "ServiceAccount");
        assert_eq!(subject["name"], account);
        let of_role = |object: &&Value| {
            object["kind"] == binding["roleRef"]["kind"]
                && object["metadata"]["name"] == binding["roleRef"]["name"]
        };
        let role = objects.iter().find(of_role).expect("the role");
        for rule in list(&role["rules"]) {
            let strings = |member: &str| -> Vec<String> {
                let items = list(&rule[member]).iter();
                items
                    .map(|item| item.as_str().unwrap().to_owned())
                    .collect()
            };
            let mut names: Vec<_> = strings("resourceNames").into_iter().map(Some).collect();
            if names.is_empty() {
                names.push(None);
            }
            for group in strings("apiGroups") {
                for resource in strings("resources") {
                    for verb in strings("verbs") {
                        rights.extend(names.iter().map(|name| Right {
                            verb: verb.clone(),
                            group: group.clone(),
                            resource: resource.clone(),
                            namespace: in_namespace.clone(),
                            name: name.clone(),
                        }));
                    }
                }
            }
        }
    }
    rights
}

/// A Deployment or Job with a container `cim`.
pub struct Workload {
    pub object: Value,
    /// The ConfigMaps that it may mount.
    config_maps: Vec<Value>,
}

impl Workload {
    #[track_caller]
    pub fn read(path: &str) -> Self {
        let mut documents = documents(path);
        assert_eq!(documents.len(), 1, "{path}");
        Self {
            object: documents.remove(0),
            config_maps: documents_of_config(),
        }
    }

    fn template(&self) -> &Value {
        &self.object["spec"]["template"]
    }

    pub fn spec(&self) -> &Value {
        &self.template()["spec"]
    }

    /// CIM's container runs as an init container.
    pub fn is_native_sidecar(&self) -> bool {
        list(&self.spec()["initContainers"])
            .iter()
            .any(|container| container["name"] == "cim")
    }

    #[track_caller]
    pub fn cim(&self) -> &Value {
        let place = match self.is_native_sidecar() {
            true => "initContainers",
            false => "containers",
        };
        with(list(&self.spec()[place]), "name", "cim")
    }

    /// The pod, as Kubernetes would have made it.
    pub fn pod(&self, name: &str, namespace: &str) -> Value {
        let mut metadata = self.template()["metadata"].clone();
        metadata["name"] = name.into();
        metadata["namespace"] = namespace.into();
        metadata["uid"] = "5f2c1f9e-0000-4000-8000-000000000002".into();
        let mut spec = self.spec().clone();
        spec["nodeName"] = "node1".into();
        json!({
            "kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec,
            "status": {"phase": "Running", "podIP": "10.1.2.3"},
        })
    }

    /// The environment of CIM's container in `pod`.
    #[track_caller]
    pub fn env(&self, pod: &Value) -> BTreeMap<String, String> {
        let variable = |item: &Value| {
            let name = item["name"].as_str().expect("a name").to_owned();
            let value = match &item["valueFrom"]["fieldRef"]["fieldPath"] {
                // An unquoted number or truth value is refused by Kubernetes.
                Value::Null => item["value"].as_str().expect("a text"),
                path => {
                    let pointer = format!("/{}", path.as_str().unwrap().replace('.', "/"));
                    let field = pod.pointer(&pointer).and_then(Value::as_str);
                    field.unwrap_or_else(|| panic!("{name}: the pod has no {path}"))
                }
            };
            (name, value.to_owned())
        };
        let items = list(&self.cim()["env"]);
        let env: BTreeMap<_, _> = items.iter().map(variable).collect();
        assert_eq!(env.len(), items.len(), "a name stands twice");
        env
    }

    /// Lays out the volumes that CIM's container mounts below `root`.
    #[track_caller]
    pub fn mount(&self, root: &Path) {
        for mount in list(&self.cim()["volumeMounts"]) {
            let volumes = list(&self.spec()["volumes"]);
            let volume = with(volumes, "name", mount["name"].as_str().unwrap());
            let path = mount["mountPath"].as_str().unwrap();
            let folder = root.join(path.trim_start_matches('/'));
            fs::create_dir_all(&folder).unwrap();
            for source in list(&volume["projected"]["sources"]) {
                let source = &source["configMap"];
                let objects = self.config_maps.iter();
                let mut named = objects.filter(|o| o["metadata"]["name"] == source["name"]);
                let config_map = named.next().expect("the ConfigMap");
                for item in list(&source["items"]) {
                    let data = &config_map["data"][item["key"].as_str().unwrap()];
                    let file = folder.join(item["path"].as_str().unwrap());
                    fs::create_dir_all(file.parent().unwrap()).unwrap();
                    fs::write(file, data.as_str().expect("the key")).unwrap();
                }
            }
        }
    }

    /// Whether CIM may write at `path`: it lies on a volume of the container that is made for the pod.
    pub fn is_writable(&self, path: &Path) -> bool {
        list(&self.cim()["volumeMounts"]).iter().any(|mount| {
            let volumes = list(&self.spec()["volumes"]);
            let volume = with(volumes, "name", mount["name"].as_str().unwrap());
            path.starts_with(PathBuf::from(mount["mountPath"].as_str().unwrap()))
                && mount["readOnly"] != true
                && volume["emptyDir"].is_object()
        })
    }
}

fn documents_of_config() -> Vec<Value> {
    documents("deploy/config.yaml")
}
