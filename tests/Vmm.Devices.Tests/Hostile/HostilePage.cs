using System.Reflection;
using System.Text;
using System.Text.RegularExpressions;
using Vmm.Tests.House;

namespace Vmm.Devices.Tests.Hostile;

/// <summary>
/// The page <c>docs/hostile-guest.md</c>: every test below this namespace that says where its attack comes from, as a row. It is made from the
/// tests; VMM_ACCEPT_HOSTILE=1 writes it anew.
/// </summary>
public sealed partial class HostilePage
{
    private const string Accept = "VMM_ACCEPT_HOSTILE";

    /// <summary>The numbers of public bugs that may stand in a source, and who says that they are these bugs.</summary>
    private static readonly (string Number, string Says)[] Confirmed =
    [
        ("CVE-2011-2512", "MITRE: qemu-kvm, `virtio_queue_notify` does not validate the virtqueue number, a signed comparison is bypassed"),
        ("CVE-2016-5403", "MITRE: QEMU, `virtqueue_pop`, requests without waiting for completion"),
        ("CVE-2016-6490", "oss-security and qemu-devel 2016-07/msg06246: virtio, check vring descriptor buffer length"),
        ("CVE-2016-7422", "Red Hat bug 1376756: virtio, null pointer dereference; the patch checks a descriptor's mapped address"),
        ("CVE-2019-3900", "linux-kernel: vhost, `vhost_exceeds_weight` and weights for net, vsock and scsi"),
        ("CVE-2019-18960", "oss-security 2019/q4/141: Firecracker v0.18.0 and v0.19.0, vsock buffer overflow"),
        ("CVE-2020-10717", "oss-security 2020/05/04/1: virtiofsd, the guest opens the maximum number of descriptors"),
        ("CVE-2020-16843", "firecracker-microvm/firecracker issue 2057: the network freezes when the receive queue is full under heavy ingress"),
        ("CVE-2020-27174", "NVD: Firecracker, the serial port's buffer grows without bound"),
        ("CVE-2021-3748", "Red Hat bug 1999221: QEMU, virtio-net, use after unmap in `virtio_net_receive_rcu`"),
        ("CVE-2021-45464", "NVD and KalmarUnion's write-up: kvmtool, configuration and queue index out of bounds"),
        ("CVE-2022-2132", "oss-security: DPDK, `copy_desc_to_mbuf`, the vhost header"),
        ("CVE-2022-26353", "QEMU's commit: virtio-net, fix map leaking on error during receive"),
        ("CVE-2022-26354", "QEMU's commit: vhost-vsock, detach the virtqueue element in case of error"),
        ("CVE-2023-3180", "qemu-devel: virtio-crypto, the lengths of source and destination in its data queue"),
        ("CVE-2023-6693", "qemu-devel: virtio-net, the header with a hash report"),
        ("CVE-2024-3446", "qemu-devel: `virtio_bh_new_guarded`, virtio devices made to access themselves"),
        ("CVE-2024-7730", "osv.dev: QEMU, virtio-snd, heap overflow in `virtio_snd_pcm_in_cb`"),
        ("CVE-2024-11614", "DSA-5833 and the release notes of DPDK 24.11.1: vhost, checksum offload"),
        ("CVE-2026-5747", "AWS bulletin 2026-015: Firecracker, queue registers changed after the device was activated"),
        ("CVE-2026-16457", "QEMU's commit: virtio, avoid packed vring `virtio_queue_empty` infinite loops"),
        ("CVE-2026-45782", "GHSA-f47p-p25q-83rh and the notes of Cloud Hypervisor 52.0: virtio-block, use after free under asynchronous I/O"),
    ];

    [Fact]
    public void The_page_of_hostile_entries_is_what_the_tests_say()
    {
        string path = RepositoryTree.PathOf("docs", "hostile-guest.md");
        string page = Write();
        if (Environment.GetEnvironmentVariable(Accept) == "1") File.WriteAllText(path, page);
        string accepted = File.Exists(path) ? File.ReadAllText(path) : "";
        Assert.True(page == accepted, $"docs/hostile-guest.md does not list the tests as they are: run this test with {Accept}=1");
    }

    [Fact]
    public void A_number_of_a_public_bug_stands_where_somebody_confirms_it()
    {
        string[] named = [.. Suites().SelectMany(Entries).SelectMany(test => Number().Matches(Source(test)!)).Select(match => match.Value).Distinct().Order()];
        Assert.Equal(Confirmed.Select(each => each.Number).Order(), named);
    }

    private static string Write()
    {
        StringBuilder page = new();
        page.Append($"""
            # The hostile guest

            Each row is a test that passes: what a guest tries, against which devices, on which rings, what comes of it, and where the attack comes from.
            *Needs reset* means: the fault is counted, reported once, and the queue gives nothing more until the driver has reset the device; then it works.
            *All* are {string.Join(", ", DeviceBatteryTests.Devices.Keys)}. Wherever there is a reactor a row holds under both pollers, and beside
            the device under attack there is another guest's on the same reactor that is asked whether it noticed anything. Rows of *the queue of any* are about
            the ring that every device has, below devices and reactors. Rows of *the front-end itself* are about what a hostile front-end sends over vhost-user.

            This page is made from the tests that have a `Source` trait and held by one of them (`HostilePage`, see tests/README.md). A number of a
            public bug stands here only where a public source says that it is that bug: the table at the end says which.

            """);
        foreach (Type suite in Suites())
        {
            page.Append($"\n## {Sentence(suite.Name)}\n\n| entry | devices | rings | outcome | source |\n|---|---|---|---|---|\n");
            foreach (MethodInfo test in Entries(suite))
                page.Append($"| {Sentence(test.Name)} | {Devices(test)} | {Rings(test)} | {Trait(test, "Outcome") ?? "as it says"} | {Source(test)} |\n");
        }
        page.Append("\n## Who confirms the numbers\n\n| number | where it is said what it is |\n|---|---|\n");
        foreach ((string number, string says) in Confirmed) page.Append($"| {number} | {says} |\n");
        return page.ToString();
    }

    private static IEnumerable<Type> Suites() =>
        from type in typeof(HostilePage).Assembly.GetTypes()
        where type.IsPublic && Entries(type).Any()
        orderby type.Name
        select type;

    private static IEnumerable<MethodInfo> Entries(Type suite) =>
        suite.GetMethods(BindingFlags.Public | BindingFlags.Instance | BindingFlags.DeclaredOnly).Where(method => Source(method) is not null).OrderBy(method => method.Name, StringComparer.Ordinal);

    private static string? Source(MethodInfo test) => Trait(test, "Source");

    private static string? Trait(MemberInfo member, string name) =>
        member.GetCustomAttributes<TraitAttribute>().FirstOrDefault(trait => trait.Name == name)?.Value;

    private static string Devices(MethodInfo test) =>
        Trait(test, "Device") ?? Trait(test.DeclaringType!, "Device") ?? (test.GetParameters().Any(parameter => parameter.ParameterType == typeof(HostileCase)) ? "all" : "the queue of any");

    /// <summary>A test that takes a ring's shape runs on all of them; else its name tells, and a split ring is the rule.</summary>
    private static string Rings(MethodInfo test)
    {
        ParameterInfo[] parameters = test.GetParameters();
        if ((Trait(test, "Rings") ?? Trait(test.DeclaringType!, "Rings")) is { } rings) return rings;
        if (parameters.Any(parameter => parameter.ParameterType == typeof(RingShape) || parameter.ParameterType == typeof(HostileCase) || parameter.Name == "packed"))
            return "split, packed";
        return test.Name.Contains("packed", StringComparison.OrdinalIgnoreCase) ? "packed" : "split";
    }

    [GeneratedRegex(@"CVE-\d{4}-\d+")]
    private static partial Regex Number();

    private static string Sentence(string name)
    {
        if (name.Contains('_')) return name.Replace('_', ' ');
        string words = string.Concat(name.Select((letter, i) => i > 0 && char.IsUpper(letter) ? $" {char.ToLowerInvariant(letter)}" : $"{letter}"));
        return words.EndsWith(" tests", StringComparison.Ordinal) ? words[..^" tests".Length] : words;
    }
}
