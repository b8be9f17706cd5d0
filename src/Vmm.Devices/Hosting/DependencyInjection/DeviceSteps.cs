using Microsoft.Extensions.Options;

namespace Vmm.Devices;

/// <summary>Makes the devices that a container was given, step by step.</summary>
internal static class DeviceSteps
{
    /// <summary>Takes every step: the operator sees all mistakes at once.</summary>
    /// <returns>The owner, with its devices.</returns>
    /// <exception cref="OptionsValidationException">Some devices were refused, each in a sentence; the owner is disposed.</exception>
    internal static TOwner Take<TOwner>(IEnumerable<Action<IServiceProvider, TOwner>> steps, IServiceProvider provider, TOwner owner)
        where TOwner : IDisposable
    {
        List<string> failures = [];
        try
        {
            foreach (Action<IServiceProvider, TOwner> step in steps)
            {
                try
                {
                    step(provider, owner);
                }
                catch (SpecRefusedException refusal)
                {
                    failures.Add(refusal.Message);
                }
            }
            return failures.Count == 0 ? owner : throw new OptionsValidationException(Options.DefaultName, typeof(TOwner), failures);
        }
        catch
        {
            owner.Dispose();
            throw;
        }
    }

    /// <summary>A step that adds a described device.</summary>
    internal static Action<IServiceProvider, TOwner> Adding<TOwner, TSpec>(
        Func<IServiceProvider, TSpec> described, Action<TOwner, TSpec> add) =>
        (provider, owner) =>
        {
            try
            {
                add(owner, described(provider));
            }
            catch (Exception refusal) when (refusal is ArgumentException or IOException)
            {
                throw new SpecRefusedException(refusal);
            }
        };

    /// <summary>A step that adds a device of any kind, which is disposed if it is refused.</summary>
    internal static Action<IServiceProvider, TOwner> Adding<TOwner>(
        Func<IServiceProvider, VirtioDevice> make, Func<TOwner, VirtioDevice, object> add)
    {
        ArgumentNullException.ThrowIfNull(make);
        return (provider, owner) => make(provider).HandTo(device => add(owner, device));
    }
}

/// <summary>A device that is described by a spec can't be opened or added, for the reason in the message.</summary>
internal sealed class SpecRefusedException(Exception reason) : Exception(reason.Message, reason);
