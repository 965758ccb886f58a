-- What pages ask for again and again: the deployments that have not ended, and what one user did.

CREATE INDEX deployments_by_status ON deployments (status, model_id);
CREATE INDEX audit_of_user ON audit (who);
