/* A part of rig.h: the fake store. What was asked is done in order, at once or by rig_commit. */
#ifndef HF_TESTS_BROKER_RIG_STORE_H
#define HF_TESTS_BROKER_RIG_STORE_H

static void rig_tag(void *ctx HF_UNUSED, const struct msg *m, uint8_t tag[8])
{
	uint64_t h = hash_bytes(m->bytes, m->topic_len) ^
	        hash_bytes(msg_payload(m).p, msg_payload(m).n) * 31;
	memcpy(tag, &h, 8);
}

static void copy_text(char *out, size_t size, struct slice s)
{
	snprintf(out, size, "%.*s", SLICE_ARG(s));
}

static void keep_row(struct rig *rig, struct telemetry_row *row)
{
	row->err = rig->row_err;
	if (row->err)
		return;
	struct stored *s = &rig->rows[rig->n_rows++ % ARRAY_LEN(rig->rows)];
	s->device_key = row->device_key;
	s->qos = row->msg->qos;
	copy_text(s->topic, sizeof(s->topic), row->topic);
	copy_text(s->payload, sizeof(s->payload), msg_payload(row->msg));
	copy_text(s->module, sizeof(s->module), row->module);
	if (!row->qos2 || rig->n_ids == ARRAY_LEN(rig->ids))
		return;
	struct kept_id *k = &rig->ids[rig->n_ids++];
	k->device_key = row->device_key;
	k->id.packet_id = row->packet_id;
	copy_text(k->session, sizeof(k->session), row->session);
	rig_tag(rig, row->msg, k->id.tag);
}

static void forget_ids(struct rig *rig, const struct qos2_release *r)
{
	for (unsigned i = rig->n_ids; i-- > 0;) {
		const struct kept_id *k = &rig->ids[i];
		if (k->device_key == r->device_key && slice_eq_str(r->session, k->session) &&
		        (r->all || k->id.packet_id == r->packet_id))
			rig->ids[i] = rig->ids[--rig->n_ids];
	}
	rig->n_releases++;
}

static void load_ids(struct rig *rig, struct qos2_load *l)
{
	rig->n_loads++;
	l->err = rig->load_err;
	l->ids = calloc(rig->n_ids + 1u, sizeof(*l->ids));
	for (unsigned i = 0; i < rig->n_ids && !l->err; i++) {
		const struct kept_id *k = &rig->ids[i];
		if (k->device_key == l->device_key && slice_eq_str(l->session, k->session))
			l->ids[l->n++] = k->id;
	}
}

static void run_op(struct rig *rig, enum op_kind kind, void *request)
{
	switch (kind) {
	case OP_ROW: {
		struct telemetry_row *row = request;
		keep_row(rig, row);
		mail_post(row->reply_to, &row->mail);
		break;
	}
	case OP_RELEASE: {
		struct qos2_release *r = request;
		r->err = rig->release_err;
		if (!r->err)
			forget_ids(rig, r);
		mail_post(r->reply_to, &r->mail);
		break;
	}
	case OP_LOAD: {
		struct qos2_load *l = request;
		load_ids(rig, l);
		mail_post(l->reply_to, &l->mail);
		break;
	}
	}
}

static void rig_ask(struct rig *rig, enum op_kind kind, void *request)
{
	if (!rig->hold_store) {
		run_op(rig, kind, request);
		return;
	}
	struct op *op = calloc(1, sizeof(*op));
	op->kind = kind;
	op->request = request;
	*rig->ops_end = op;
	rig->ops_end = &op->next;
	rig->n_ops++;
}

static void rig_append(void *ctx, struct telemetry_row *row)
{
	rig_ask(ctx, OP_ROW, row);
}
static void rig_forget(void *ctx, struct qos2_release *r)
{
	rig_ask(ctx, OP_RELEASE, r);
}
static void rig_load(void *ctx, struct qos2_load *l)
{
	rig_ask(ctx, OP_LOAD, l);
}
static size_t rig_backlog(void *ctx)
{
	return ((struct rig *)ctx)->backlog;
}

#endif
