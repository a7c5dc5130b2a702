"""OpenTelemetry GenAI spans → graphs: any framework that is traced can come in."""
