using Vmm.Events;

namespace Vmm.Devices.Tests;

/// <summary>
/// Base of the suites whose reactors are made out of their sight, by hosts, groups and served devices: a suite is abstract, and one sealed
/// class for each poller runs it. The poller is that of the test, whatever runs beside it.
/// </summary>
public abstract class PollerSuite
{
    private static readonly AsyncLocal<PollerKind> OfTest = new();

    private protected PollerSuite(PollerKind poller) => OfTest.Value = poller;

    /// <summary>How the reactors of the test that runs are to wait.</summary>
    internal static PollerKind Poller => OfTest.Value;

    /// <summary>The poller that the name of the suite promises.</summary>
    private protected PollerKind OfSuite =>
        GetType().Name.Contains("OnIoRing", StringComparison.Ordinal) ? PollerKind.IoRing : PollerKind.Epoll;
}
