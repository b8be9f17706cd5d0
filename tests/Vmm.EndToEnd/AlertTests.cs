using System.Text.RegularExpressions;

namespace Vmm.EndToEnd;

/// <summary>The alert rules and the dashboard of docs/operations: their names are those that are measured, and Prometheus takes and fires them.</summary>
public sealed partial class AlertTests : IDisposable
{
    private static readonly string Rules = Repository.PathOf("docs/operations/alerts.yml");

    private readonly ScratchDirectory _scratch = new();

    [Theory]
    [InlineData("docs/operations/alerts.yml")]
    [InlineData("docs/operations/dashboard.json")]
    public void They_name_what_is_measured(string file)
    {
        string documented = File.ReadAllText(Repository.PathOf("docs/operations/metrics.md"));
        string meter = File.ReadAllText(Repository.PathOf("src/Vmm.Events/Insight/ReactorMeter.cs"));
        string[] names = [.. Name().Matches(File.ReadAllText(Repository.PathOf(file))).Select(name => name.Value).Distinct()];
        Assert.NotEmpty(names);
        foreach (string name in names)
        {
            string series = Suffix().Replace(name, "");
            bool isMeasured = documented.Contains($"`{name}`", StringComparison.Ordinal) || documented.Contains($"`{series}`", StringComparison.Ordinal)
                || meter.Contains($"\"{Total().Replace(name, "").Replace("vmm_events_", "vmm.events.", StringComparison.Ordinal)}\"", StringComparison.Ordinal);
            Assert.True(isMeasured, $"{file} names {name}, which nothing measures");
        }
    }

    [Fact]
    public void Prometheus_takes_the_rules_and_fires_them_when_it_should()
    {
        Assert.SkipUnless(File.Exists("/usr/bin/promtool"), "prometheus is not installed: tools/test.sh installs it");
        Shell.Run("promtool", "check", "rules", Rules);
        File.WriteAllText(_scratch.PathOf("cases.yml"), $$"""
            rule_files: [ {{Rules}} ]
            evaluation_interval: 1m
            tests:
              - interval: 1m
                input_series:
                  - { series: 'vmm_device_host_faults_total{device="vda",instance="a"}', values: '0 0 0 1 1 1' }
                  - { series: 'vmm_device_in_flight{device="vda",instance="a"}', values: '0 3 3 3 3 3' }
                  - { series: 'vmm_device_requests_total{device="vda",instance="a"}', values: '10 20 20 20 20 20' }
                  - { series: 'vmm_device_in_flight{device="vdb",instance="a"}', values: '3 3 3 3 3 3' }
                  - { series: 'vmm_device_requests_total{device="vdb",instance="a"}', values: '10 20 30 40 50 60' }
                alert_rule_test:
                  - { eval_time: 2m, alertname: VmmStorageFails }
                  - eval_time: 4m
                    alertname: VmmStorageFails
                    exp_alerts:
                      - exp_labels: { severity: critical, device: vda, instance: a }
                        exp_annotations:
                          summary: "vda of a: the host's storage or network fails requests"
                          description: "Look at the log of the server: it names the file, the call and the error. A flush that failed stays failed until the disk is opened anew."
                  - { eval_time: 3m, alertname: VmmRequestsStandStill }
                  - eval_time: 5m
                    alertname: VmmRequestsStandStill
                    exp_alerts:
                      - exp_labels: { severity: critical, device: vda, instance: a }
                        exp_annotations:
                          summary: "vda of a: requests are in flight and none completes"
                          description: "The storage hangs: look at the NBD server, the cluster or the host's disk. The guest waits."
            """);
        Shell.Run("promtool", "test", "rules", _scratch.PathOf("cases.yml"));
    }

    public void Dispose() => _scratch.Dispose();

    [GeneratedRegex("vmm_[a-z_]+")]
    private static partial Regex Name();

    [GeneratedRegex("_(bucket|count|sum)$")]
    private static partial Regex Suffix();

    [GeneratedRegex("_total$")]
    private static partial Regex Total();
}
