{{- define "gearmesh.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* At most 40 characters: a pod's name, this and an ordinal, is a label too, and a label has 63. */}}
{{- define "gearmesh.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "gearmesh.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "gearmesh.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* The headless service: every node's name and address, ready or not. */}}
{{- define "gearmesh.nodes" -}}
{{ include "gearmesh.fullname" . }}-nodes
{{- end }}

{{- define "gearmesh.selector" -}}
app.kubernetes.io/name: {{ include "gearmesh.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: node
{{- end }}

{{- define "gearmesh.labels" -}}
app.kubernetes.io/name: {{ include "gearmesh.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "gearmesh.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "gearmesh.secret" -}}
{{ .Values.secret.existingSecret | default (printf "%s-secret" (include "gearmesh.fullname" .)) }}
{{- end }}
