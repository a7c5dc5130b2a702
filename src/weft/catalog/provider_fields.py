"""How classes of model providers, as LangChain has them, hold the name of the model that they call."""

MODEL_FIELDS = ("model_name", "model", "model_id", "deployment_name", "azure_deployment", "repo_id")
"""The first that is there and not empty is it."""
