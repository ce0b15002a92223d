-- Statements about records that are taken over from other systems.

-- begin: note that there is such an import; how far it has come.
with made as (
    insert into "import" (name) values (%(name)s) on conflict (name) do nothing returning seq
)
select seq from made union all select seq from "import" where name = %(name)s limit 1;

-- hold: the position of an import, held until the transaction ends.
select seq from "import" where name = %(name)s for no key update;

-- restart: forget how far an import has come; what it took over stays known.
update "import" set seq = '', updated_at = now() where name = %(name)s;

-- known: what was taken over last of these documents.
select document, item_id, rev, status, metadata from imported
where "import" = %(name)s and document in (select value from json_array_elements_text(%(documents)s::json));

-- keep: what has been taken over now; of a document that could not be taken, only the note.
insert into imported ("import", document, item_id, rev, status, metadata, note)
select %(name)s, r.document, r.item, coalesce(r.rev, ''), coalesce(r.status, ''), coalesce(r.metadata, '{}'), r.note
from json_to_recordset(%(rows)s::json) as r(document text, item bigint, rev text, status text, metadata jsonb, note text)
order by r.document
on conflict ("import", document) do update
set item_id = coalesce(excluded.item_id, imported.item_id), note = excluded.note,
    rev = case when excluded.item_id is null then imported.rev else excluded.rev end,
    status = case when excluded.item_id is null then imported.status else excluded.status end,
    metadata = case when excluded.item_id is null then imported.metadata else excluded.metadata end;

-- past: the past steps of these items, in order.
select item_id, json_agg(json_build_object('name', name, 'details', details) order by position) as steps
from past_step where item_id in (select value::bigint from json_array_elements_text(%(items)s::json)) group by item_id;

-- forget_past: take away the past steps of these items, which are about to be written anew.
delete from past_step where item_id in (select value::bigint from json_array_elements_text(%(items)s::json));

-- write_past: write past steps.
insert into past_step (item_id, position, name, details, finished_at)
select r.item, r.position, r.name, r.details, r.finished_at
from json_to_recordset(%(rows)s::json) as r(item bigint, position smallint, name text, details jsonb, finished_at timestamptz)
order by r.item, r.position;

-- tell: these items have another past: whoever follows the changes is told.
with told as (
    insert into change (kind, item_id, state)
    select 'item', i.id, i.status from item i
    where i.id in (select value::bigint from json_array_elements_text(%(items)s::json))
    returning 1
)
select pg_notify('tidemill_work', 'items'), pg_notify('tidemill_change', '') from told limit 1;

-- advance: how far an import has come, in the same transaction as what it took over.
update "import" set seq = %(seq)s, records = records + %(records)s, updated_at = now() where name = %(name)s;

-- listing: all imports with how far they are and what a person should look at.
select i.name, i.seq, i.records, i.updated_at,
       count(d.document) filter (where d.item_id is not null) as items,
       count(d.document) filter (where d.item_id is null) as refused,
       count(d.document) filter (where d.item_id is not null and d.note <> '') as noted
from "import" i left join imported d on d."import" = i.name
group by i.name order by i.name;

-- notes: what a person should know of some documents, in order of their ids.
select document, item_id is not null as taken, rev, note from imported
where "import" = %(name)s and note <> '' order by document limit %(limit)s;
