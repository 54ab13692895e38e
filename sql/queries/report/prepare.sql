-- Settings of the transaction that a report is read in. The statements of the product have an index
-- for every scan, and those of reports have not. 15 s is the time that dashboards have. Nothing is
-- written, whatever the role may do.
select count(set_config(setting.name, setting.value, true))
  from (values ('enable_seqscan', 'on'), ('enable_bitmapscan', 'on'), ('statement_timeout', '15s'),
               ('transaction_read_only', 'on'), ('textback.reporting_project', $1)) setting (name, value);
