using Vmm.Events;

namespace Vmm.Devices;

/// <summary>The reactors that serve one device. This is the only place that decides which reactor serves which queue.</summary>
/// <param name="Main">Owns the device: activation, configuration, and every queue that shares state with others.</param>
/// <param name="Queues">The reactor of each queue, by the queue's number.</param>
internal sealed record DeviceReactors(ReactorThread Main, IReadOnlyList<ReactorThread> Queues)
{
    /// <summary>
    /// Devices go to the reactors in turn. The queues of a device that are independent go to the reactors after its own, group by group
    /// (<see cref="VirtioDevice.QueueGroupOf"/>); other queues stay with the device.
    /// </summary>
    /// <param name="device">The device.</param>
    /// <param name="turn">The device's number in its host.</param>
    /// <param name="reactors">All reactors of the host.</param>
    internal static DeviceReactors Of(VirtioDevice device, int turn, ReactorGroup reactors)
    {
        ReactorThread main = reactors[turn % reactors.Count];
        ReactorThread[] queues = new ReactorThread[device.Queues.Count];
        Array.Fill(queues, main);
        if (device.QueuesAreIndependent && reactors.Count > 1)
        {
            for (int i = 0; i < queues.Length; i++) queues[i] = reactors[(turn + device.QueueGroupOf(i)) % reactors.Count];
        }
        return new DeviceReactors(main, queues);
    }

    /// <summary>What a transport is given: one endpoint for each queue, or none if the device's own reactor serves them all.</summary>
    internal IReadOnlyList<RemoteEndpoint> QueueRemotes =>
        Queues.All(reactor => reactor == Main) ? [] : [.. Queues.Select(reactor => reactor.Remote)];
}
