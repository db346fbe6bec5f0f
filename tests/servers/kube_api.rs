//! What the stand-in for the Kubernetes API server holds, and its answers: no socket.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Request;

/// A right of the service account, as a rule of a Role or ClusterRole gives it.
#[derive(Debug, Clone)]
pub struct Right {
    pub verb: String,
    pub group: String,
    pub resource: String,
    /// Where; `None`: everywhere.
    pub namespace: Option<String>,
    /// To this object alone.
    pub name: Option<String>,
}

impl Right {
    fn permits(&self, verb: &str, target: &Target<'_>) -> bool {
        let here = self.namespace.as_deref();
        self.verb == verb
            && self.group == target.group
            && self.resource == target.kind()
            && (here.is_none() || here == target.namespace)
            && (self.name.is_none() || self.name.as_deref() == target.name)
    }
}

/// Pods, config maps and cluster roles, and who may do what with them.
pub struct Objects {
    pub token: String,
    /// `verb resource` that the service account's role lacks.
    pub forbidden: BTreeSet<String>,
    /// What its role allows, and nothing else; `None`: everything.
    pub rights: Option<Vec<Right>>,
    /// By path without the query.
    pub objects: BTreeMap<String, Value>,
}

impl Objects {
    /// Nothing yet, for who has this token.
    pub fn new(token: &str) -> Self {
        Self {
            token: token.to_owned(),
            forbidden: BTreeSet::new(),
            rights: None,
            objects: BTreeMap::new(),
        }
    }
}

/// An answer.
pub struct Reply {
    pub code: u16,
    pub body: Vec<u8>,
    pub retry_after: Option<u64>,
}

impl Reply {
    fn object(code: u16, object: &Value) -> Self {
        Self {
            code,
            body: object.to_string().into_bytes(),
            retry_after: None,
        }
    }

    pub fn failure(code: u16, message: &str, reason: &str) -> Self {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": code,
        });
        Self::object(code, &status)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let retry = self
            .retry_after
            .map(|seconds| format!("Retry-After: {seconds}\r\n"))
            .unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{retry}\r\n",
            self.code,
            self.body.len()
        );
        [head.as_bytes(), &self.body].concat()
    }
}

/// `/api/v1/namespaces/ns1/pods/cnf-0` in parts.
struct Target<'a> {
    group: &'a str,
    namespace: Option<&'a str>,
    resource: &'a str,
    name: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn of(path: &'a str) -> Option<Self> {
        let parts: Vec<_> = path.strip_prefix('/')?.split('/').collect();
        let (group, namespace, resource, name) = match parts[..] {
            [
                "api",
                "v1",
                "namespaces",
                namespace,
                resource @ ("pods" | "configmaps"),
            ] => ("", Some(namespace), resource, None),
            [
                "api",
                "v1",
                "namespaces",
                namespace,
                resource @ ("pods" | "configmaps"),
                name,
            ] => ("", Some(namespace), resource, Some(name)),
            [
                "apis",
                group @ "authorization.k8s.io",
                "v1",
                resource @ "selfsubjectaccessreviews",
            ] => (group, None, resource, None),
            // Of all namespaces: a right of its own.
            ["api", "v1", "pods"] => ("", None, "all pods", None),
            [
                "apis",
                group @ "rbac.authorization.k8s.io",
                "v1",
                resource @ "clusterroles",
                name,
            ] => (group, None, resource, Some(name)),
            _ => return None,
        };
        let target = Self {
            group,
            namespace,
            resource,
            name,
        };
        Some(target).filter(|target| target.name != Some(""))
    }

    /// What rules call the resource.
    fn kind(&self) -> &str {
        self.resource.trim_start_matches("all ")
    }
}

impl Objects {
    /// The answer to a request.
    pub fn reply(&mut self, request: &Request) -> Reply {
        match request.headers.get("authorization") {
            None => {
                let message = "forbidden: User \"system:anonymous\" cannot do anything";
                return Reply::failure(403, message, "Forbidden");
            }
            Some(given) if *given != format!("Bearer {}", self.token) => {
                return Reply::failure(401, "Unauthorized", "Unauthorized");
            }
            Some(_) => {}
        }
        if request.headers.get("accept").map(String::as_str) != Some("application/json") {
            return Reply::failure(406, "only application/json is served", "NotAcceptable");
        }
        let is_json =
            request.headers.get("content-type").map(String::as_str) == Some("application/json");
        if !request.body.is_empty() && !is_json {
            return Reply::failure(
                415,
                "the body must be application/json",
                "UnsupportedMediaType",
            );
        }
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let Some(target) = Target::of(path) else {
            return Reply::failure(
                404,
                "the server could not find the requested resource",
                "NotFound",
            );
        };
        let verb = match (request.method.as_str(), target.name, target.resource) {
            ("GET", Some(_), _) => "get",
            ("GET", None, "pods" | "all pods") => "list",
            ("DELETE", Some(_), "pods") => "delete",
            ("POST", None, "configmaps" | "selfsubjectaccessreviews") => "create",
            _ => {
                return Reply::failure(
                    405,
                    "the server does not allow this method",
                    "MethodNotAllowed",
                );
            }
        };
        let right = |rights: &Vec<Right>| rights.iter().any(|right| right.permits(verb, &target));
        // Everybody may ask for their own rights.
        let is_review = target.resource == "selfsubjectaccessreviews";
        let permitted = is_review || self.rights.as_ref().is_none_or(right);
        let forbidden = format!("{verb} {}", target.resource);
        if !permitted || self.forbidden.contains(&forbidden) {
            let message = format!(
                "{} is forbidden: User \"system:serviceaccount:ns1:default\" cannot {verb} resource \"{0}\"",
                target.resource
            );
            return Reply::failure(403, &message, "Forbidden");
        }
        if verb != "list" && !query.is_empty() {
            return Reply::failure(400, "no query is known here", "BadRequest");
        }
        match verb {
            "get" => self.get(path, &target),
            "list" => self.list(path, query),
            "delete" => self.delete(path, &target, &request.body),
            _ if is_review => self.review(&request.body),
            _ => self.create(path, &request.body),
        }
    }

    fn review(&self, body: &str) -> Reply {
        let Ok(mut review) = serde_json::from_str::<Value>(body) else {
            return Reply::failure(400, "the body is no JSON", "BadRequest");
        };
        let is_review = review["kind"] == "SelfSubjectAccessReview"
            && review["apiVersion"] == "authorization.k8s.io/v1";
        let asked = &review["spec"]["resourceAttributes"];
        let (Some(verb), Some(resource), true) = (
            asked["verb"].as_str(),
            asked["resource"].as_str(),
            is_review,
        ) else {
            return Reply::failure(400, "no SelfSubjectAccessReview", "BadRequest");
        };
        let everywhere = asked["namespace"].as_str().unwrap_or_default().is_empty();
        let right = match (resource, everywhere) {
            ("pods", true) => format!("{verb} all pods"),
            _ => format!("{verb} {resource}"),
        };
        let allowed = !self.forbidden.contains(&right);
        review["status"] = json!({ "allowed": allowed });
        Reply::object(201, &review)
    }

    fn get(&self, path: &str, target: &Target<'_>) -> Reply {
        match self.objects.get(path) {
            Some(object) => Reply::object(200, object),
            None => not_found(target),
        }
    }

    /// Label and field selectors of the form `a=b,c=d`; pages of `limit`.
    fn list(&self, path: &str, query: &str) -> Reply {
        let (mut limit, mut from) = (usize::MAX, 0_usize);
        let mut wanted: Vec<(String, String)> = Vec::new();
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = decoded(value);
            match name {
                "limit" => limit = value.parse().unwrap(),
                "continue" => match value.strip_prefix("from ").map(str::parse) {
                    Some(Ok(at)) => from = at,
                    _ => return Reply::failure(410, "the continue token is too old", "Expired"),
                },
                "labelSelector" | "fieldSelector" => {
                    for pair in value.split(',') {
                        let Some((key, value)) = pair.split_once('=') else {
                            return Reply::failure(
                                400,
                                "unable to parse the selector",
                                "BadRequest",
                            );
                        };
                        let pointer = match (name, key) {
                            ("labelSelector", _) => {
                                let key = key.replace('~', "~0").replace('/', "~1");
                                format!("/metadata/labels/{key}")
                            }
                            (_, "spec.nodeName") => "/spec/nodeName".to_owned(),
                            _ => {
                                return Reply::failure(
                                    400,
                                    "field label not supported",
                                    "BadRequest",
                                );
                            }
                        };
                        wanted.push((pointer, value.to_owned()));
                    }
                }
                _ => return Reply::failure(400, "no such parameter", "BadRequest"),
            }
        }
        let (prefix, kind) = match path {
            "/api/v1/pods" => ("/api/v1/namespaces/".to_owned(), "/pods/"),
            _ => (format!("{path}/"), "/"),
        };
        let items: Vec<_> = self
            .objects
            .iter()
            .filter(|(path, _)| path.starts_with(&prefix) && path.contains(kind))
            .map(|(_, object)| object.clone())
            .filter(|object| {
                wanted
                    .iter()
                    .all(|(at, value)| object.pointer(at).and_then(Value::as_str) == Some(value))
            })
            .collect();
        let until = from.saturating_add(limit).min(items.len());
        let next = if until < items.len() {
            format!("from {until}")
        } else {
            String::new()
        };
        let page = json!({
            "kind": "PodList", "apiVersion": "v1",
            "metadata": {"continue": next}, "items": items[from.min(until)..until],
        });
        Reply::object(200, &page)
    }

    fn delete(&mut self, path: &str, target: &Target<'_>, body: &str) -> Reply {
        let Ok(options) = serde_json::from_str::<Value>(body) else {
            return Reply::failure(400, "the body is no JSON", "BadRequest");
        };
        if options["kind"] != "DeleteOptions" || options["apiVersion"] != "v1" {
            return Reply::failure(400, "no DeleteOptions", "BadRequest");
        }
        let Some(pod) = self.objects.get_mut(path) else {
            return not_found(target);
        };
        let uid = &options["preconditions"]["uid"];
        if !uid.is_null() && *uid != pod["metadata"]["uid"] {
            return Reply::failure(
                409,
                "the UID in the precondition is another one",
                "Conflict",
            );
        }
        let grace = pod["spec"]["terminationGracePeriodSeconds"]
            .as_i64()
            .unwrap_or(30);
        pod["metadata"]["deletionTimestamp"] = "2026-11-23T00:00:00Z".into();
        pod["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        Reply::object(200, pod)
    }

    fn create(&mut self, path: &str, body: &str) -> Reply {
        let Ok(mut object) = serde_json::from_str::<Value>(body) else {
            return Reply::failure(400, "the body is no JSON", "BadRequest");
        };
        if object["kind"] != "ConfigMap" || object["apiVersion"] != "v1" {
            return Reply::failure(400, "no ConfigMap", "BadRequest");
        }
        let name = object["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let is_good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        let data = object["data"].as_object();
        let good = !name.is_empty()
            && name.bytes().all(is_good)
            && data.is_some_and(|data| data.values().all(Value::is_string));
        if !good {
            return Reply::failure(422, "ConfigMap is invalid: metadata.name", "Invalid");
        }
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        if !path.contains(&format!("/namespaces/{namespace}/")) {
            return Reply::failure(400, "the namespace does not match", "BadRequest");
        }
        let path = format!("{path}/{name}");
        if self.objects.contains_key(&path) {
            let message = format!("configmaps \"{name}\" already exists");
            return Reply::failure(409, &message, "AlreadyExists");
        }
        object["metadata"]["uid"] = "made".into();
        let reply = Reply::object(201, &object);
        self.objects.insert(path, object);
        reply
    }
}

fn not_found(target: &Target<'_>) -> Reply {
    let name = target.name.unwrap_or_default();
    let message = format!("{} \"{name}\" not found", target.resource);
    Reply::failure(404, &message, "NotFound")
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if let (b'%', [high, low, after @ ..]) = (first, after) {
            let digits = String::from_utf8(vec![*high, *low]).unwrap();
            bytes.push(u8::from_str_radix(&digits, 16).expect("percent-encoding"));
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).unwrap()
}
