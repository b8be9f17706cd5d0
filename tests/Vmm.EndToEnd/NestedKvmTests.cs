using System.Globalization;
using System.Text.RegularExpressions;

namespace Vmm.EndToEnd;

/// <summary>The tests of the library that need KVM, on a machine without it: in a guest whose emulated processor can virtualize.</summary>
public sealed partial class NestedKvmTests
{
    /// <summary>The fewest tests that the guest must have run: a filter that finds none must not pass.</summary>
    private const int TestsMin = 60;

    [Fact]
    [Trait("Long", "true")]
    public void The_tests_that_need_KVM_pass_in_a_guest_that_has_it()
    {
        NestedGuest.SkipIfMissing();
        string[] console = NestedGuest.Run("""
            export DOTNET_ROOT=/dotnet DOTNET_TieredPGO=0 DOTNET_GCHeapHardLimit=0x20000000
            cd /tests
            /dotnet/dotnet exec Vmm.Devices.Tests.dll -namespace Vmm.Devices.Tests.Kvm -class- Vmm.Devices.Tests.Kvm.KvmAbiTests -parallel none || true
            """, NestedGuest.PackKvmTests(), memoryMiB: 2400);
        string summary = Assert.Single(console, line => line.Contains("Total:", StringComparison.Ordinal));
        Match counts = Summary().Match(summary);
        string all = string.Join('\n', console);
        Assert.True(counts.Success, all);
        int Count(string name) => int.Parse(counts.Groups[name].Value, CultureInfo.InvariantCulture);
        Assert.True(Count("failed") == 0 && Count("errors") == 0, all);
        Assert.Equal(0, Count("skipped"));
        Assert.InRange(Count("total"), TestsMin, int.MaxValue);
    }

    [GeneratedRegex(@"Total: (?<total>\d+), Errors: (?<errors>\d+), Failed: (?<failed>\d+), Skipped: (?<skipped>\d+)")]
    private static partial Regex Summary();
}
