//! Small commands for whoever runs the backend.

mod doctor;
mod healthcheck;
mod manual;
mod secrets;
mod token;

pub(crate) use self::{
    doctor::DoctorOptions, healthcheck::HealthcheckOptions, manual::CompletionsOptions,
    secrets::SecretsOptions, token::TokenOptions,
};
pub(crate) use self::{
    doctor::run as doctor, healthcheck::run as healthcheck, manual::completions, manual::man,
    secrets::run as secrets, token::run as token,
};
