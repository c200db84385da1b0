-- What was said of subjects since a message, for the evidence.
CREATE INDEX acts_by_message ON acts (number, nth);
