//! WebAssembly engine: plugins, instances, limits, capabilities, splices.
