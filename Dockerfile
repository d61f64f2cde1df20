# The one image of docker-compose.yml: MLflow's server and optuna-dashboard. Versions are pinned; the user is not root.
FROM python:3.11.11-slim-bookworm

RUN pip install --no-cache-dir \
        "mlflow[auth]==3.17.2" \
        "optuna==5.0.0" \
        "optuna-dashboard==0.21.0" \
        "psycopg[binary]==3.3.9" \
        "boto3==1.43.11" \
    && useradd --create-home --uid 1000 bnn \
    && install --directory --owner=bnn /artifacts

USER bnn
WORKDIR /home/bnn
