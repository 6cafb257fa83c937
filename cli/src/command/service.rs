//! `service`: what this node offers. Through the daemon where one runs, so that it is live at once; else in
//! the config.

use peerup_api::{ClientError, ExposeRequest, ServiceInfo, ServiceUpdate};
use peerup_config::{ConfigEditor, ConfigFile, EditError, NodeConfig};
use peerup_model::{ErrorCode, Failure, NameError, ServiceName};

use super::{daemon, usage};
use crate::{arguments::Service, context::Context, output, session};

pub(crate) async fn run(context: &Context, command: Service) -> Result<(), Failure> {
    let (path, config) = context.load()?;
    let client = session::running(&path).await;
    let edit = |change: &dyn Fn(&mut ConfigEditor) -> Result<(), EditError>, status: &str| {
        ConfigFile::new(&path)
            .edit(change)
            .map_err(|error| peerup_daemon::edit_failure(&error))?;
        daemon::tell(context, &serde_json::json!({ "status": status }))
    };
    match command {
        Service::Add { name, address } => {
            let service = read_name(&name)?;
            peerup_config::check_host_port(&address).map_err(|error| usage(error.to_string()))?;
            match client {
                None => edit(&|editor| editor.set_service(&service, &address, true), "exposed"),
                Some(client) => {
                    let request = ExposeRequest {
                        name,
                        local_address: address,
                    };
                    let done = client
                        .post("/v1/expose", &request)
                        .await
                        .map_err(ClientError::into_failure)?;
                    daemon::tell(context, &done)
                }
            }
        }
        Service::Remove { name } => {
            let service = known(&config, &name)?;
            match client {
                None => edit(&|editor| editor.remove_service(&service), "unexposed"),
                Some(client) => {
                    let path = format!("/v1/expose/{name}");
                    let done = client
                        .delete(&path, None::<&()>)
                        .await
                        .map_err(ClientError::into_failure)?;
                    daemon::tell(context, &done)
                }
            }
        }
        Service::Enable { name } => switch(context, client, &config, &name, true, &edit).await,
        Service::Disable { name } => switch(context, client, &config, &name, false, &edit).await,
        Service::List => {
            let services: Vec<ServiceInfo> = match client {
                None => peerup_daemon::describe_services(&config),
                Some(client) => client
                    .get("/v1/services")
                    .await
                    .map_err(ClientError::into_failure)?,
            };
            print(context, &services)
        }
    }
}

type Edit<'a> = dyn Fn(&dyn Fn(&mut ConfigEditor) -> Result<(), EditError>, &str) -> Result<(), Failure> + 'a;

async fn switch(
    context: &Context,
    client: Option<peerup_api::Client>,
    config: &NodeConfig,
    name: &str,
    enabled: bool,
    edit: &Edit<'_>,
) -> Result<(), Failure> {
    let service = known(config, name)?;
    let Some(client) = client else {
        let status = if enabled { "enabled" } else { "disabled" };
        return edit(&|editor| editor.set_service_enabled(&service, enabled), status);
    };
    let path = format!("/v1/services/{name}");
    let done = client
        .put(&path, &ServiceUpdate { enabled })
        .await
        .map_err(ClientError::into_failure)?;
    daemon::tell(context, &done)
}

fn read_name(name: &str) -> Result<ServiceName, Failure> {
    name.parse().map_err(|error: NameError| usage(error.to_string()))
}

fn known(config: &NodeConfig, name: &str) -> Result<ServiceName, Failure> {
    let service = read_name(name)?;
    if config.services.contains_key(&service) {
        return Ok(service);
    }
    Err(
        Failure::new(ErrorCode::NotFound, format!("there is no service {name}"))
            .with_hint("see them with: peerup service list"),
    )
}

/// Prints services.
pub(super) fn print(context: &Context, services: &[ServiceInfo]) -> Result<(), Failure> {
    if context.json {
        return output::json(&services);
    }
    if services.is_empty() {
        context.note("nothing is offered; offer something with: peerup service add NAME HOST:PORT");
    }
    let rows: Vec<[String; 4]> = services
        .iter()
        .map(|service| {
            [
                service.name.clone(),
                service.local_address.clone(),
                if service.enabled { "enabled" } else { "disabled" }.to_owned(),
                service.plugin.clone(),
            ]
        })
        .collect();
    output::table(["NAME", "ADDRESS", "STATE", "PLUGIN"], &rows)
}
