//! The endpoints of the config: how it stands, what a change would do, and changing it with a way back.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use peerup_api::{ConfigApplyRequest, ConfigPlanRequest, ConfigRollbackRequest};

use super::answer::{Format, JsonBody, Refusal};
use crate::{
    app::{self, App},
    config_guard,
};

type Answer = Result<Response, Refusal>;

pub(super) async fn status(State(app): State<Arc<App>>, format: Format) -> Answer {
    Ok(format.answer(peerup_ops::config_status(&app).await?))
}

/// What a reload of the file would do.
pub(super) async fn plan_file(State(app): State<Arc<App>>, format: Format) -> Answer {
    let path = app.config_path().to_owned();
    let loaded =
        app::blocking(move || peerup_config::load_node(&path).map_err(|error| crate::config_failure(&error)))
            .await?;
    Ok(format.answer(peerup_config::plan(&app.config(), &loaded.config)))
}

pub(super) async fn plan(
    State(app): State<Arc<App>>,
    format: Format,
    JsonBody(request): JsonBody<ConfigPlanRequest>,
) -> Answer {
    let config = config_guard::read(&app, &request.config)?;
    Ok(format.answer(peerup_config::plan(&app.config(), &config)))
}

pub(super) async fn apply(
    State(app): State<Arc<App>>,
    format: Format,
    JsonBody(request): JsonBody<ConfigApplyRequest>,
) -> Answer {
    Ok(format.answer(peerup_ops::apply_config(&app, request).await?))
}

pub(super) async fn confirm(State(app): State<Arc<App>>, format: Format) -> Answer {
    Ok(format.answer(peerup_ops::confirm_config(&app).await?))
}

pub(super) async fn roll_back(
    State(app): State<Arc<App>>,
    format: Format,
    JsonBody(request): JsonBody<ConfigRollbackRequest>,
) -> Answer {
    Ok(format.answer(peerup_ops::roll_back_config(&app, request.generation).await?))
}
