//! Schema, loading, validation and editing of the YAML configuration.
