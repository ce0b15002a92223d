-- Statements about sources and the history of their syncs.

-- list: the sources in order of name, or the one of this :name, with what lies in the catalogue of them and their newest sync.
select s.id, s.name, s.url, s.options, s.layout, s.may_lose, s.synced_at, f.files, f.size,
       exists (
           select from pg_locks l where l.locktype = 'advisory' and l.granted and l.objsubid = 2
             and l.database = (select oid from pg_database where datname = current_database())
             and l.classid = hashtext('sync')::oid and l.objid = s.id::int::oid
       ) as reading,
       (select to_jsonb(y) - 'source_id' from sync y where y.source_id = s.id order by y.id desc limit 1) as last_sync
from source s
cross join lateral (select count(*) as files, coalesce(sum(size), 0)::bigint as size from file where source_id = s.id) f
where %(name)s::text is null or s.name = %(name)s
order by s.name;

-- names: the sources and where they lie.
select name, url from source order by name;

-- syncs: the newest syncs, of one source if named, from before :before if given.
select y.id, s.name as source, y.started_at, y.finished_at, y.seen, y.created, y.changed, y.deleted, y.details
from sync y join source s on s.id = y.source_id
where (%(source)s::text is null or s.name = %(source)s) and (%(before)s::bigint is null or y.id < %(before)s)
  and (not %(effective)s or not y.details @> '{"did_something": false}' or y.details ->> 'error' <> '')
order by y.id desc limit %(limit)s;

-- sync: one of them.
select y.id, s.name as source, y.started_at, y.finished_at, y.seen, y.created, y.changed, y.deleted, y.details,
       y.id = (select max(n.id) from sync n where n.source_id = y.source_id) as newest
from sync y join source s on s.id = y.source_id where y.id = %(id)s;
