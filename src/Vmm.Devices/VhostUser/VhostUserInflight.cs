using Vmm.Events;

namespace Vmm.Devices.VhostUser;

/// <summary>Memory a front-end keeps for its back-ends: each notes there what it has taken and not given back.</summary>
internal sealed class VhostUserInflight : IDisposable
{
    /// <summary>The description without padding: what every back-end takes.</summary>
    internal const int PayloadBytes = 20;

    internal VhostUserInflight(OwnedFd file, InflightGeometry geometry)
    {
        File = file;
        Geometry = geometry;
    }

    internal OwnedFd File { get; }

    internal InflightGeometry Geometry { get; }

    public void Dispose() => File.Dispose();
}
